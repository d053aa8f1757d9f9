"""`telemetry{}`: units and filters resolved, mistakes named, sinks of others accepted with a caution."""

import pytest

from agent.config.load import load
from base.errors import ConfigInvalid


def test_filters_are_told_apart_and_durations_are_seconds() -> None:
    text = 'telemetry { prometheus_retention_time = "90s" disable_hostname = true prefix_filter = ["+a.b", "-a"] }'
    config, warnings = load(["-dev", "-hcl", text], environment={}, role="server")
    found = config.telemetry
    assert (found.prometheus_retention_s, found.host_name, found.prefix) == (90.0, "", "consul")
    assert (found.allowed, found.blocked, found.filter_default) == (("a.b",), ("a",), True)
    assert not [line for line in warnings if "telemetry" in line]


def test_a_filter_without_a_sign_is_refused_by_name() -> None:
    with pytest.raises(ConfigInvalid, match=r"telemetry\.prefix_filter: 'a' must begin with"):
        load(["-dev", "-hcl", 'telemetry { prefix_filter = ["a"] }'], environment={}, role="server")


def test_the_address_of_a_sink_is_accepted_with_a_caution() -> None:
    _, warnings = load(["-dev", "-hcl", 'telemetry { statsd_address = "x:1" }'], environment={}, role="server")
    assert any("telemetry.statsd_address: nothing is sent there" in line for line in warnings)
