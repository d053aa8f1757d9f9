"""The list of faults."""

import re

import pytest

from jepsen.nemesis.package import Fault
from jepsen.nemesis.registry import FAULTS, packages

PACKAGES = {
    "partition", "packets", "kill", "pause", "clock", "disk", "membership", "snapshot", "restart", "combined",
}  # fmt: skip


@pytest.mark.parametrize("fault", FAULTS.values(), ids=FAULTS)
def test_every_fault_can_be_made_and_says_what_it_is(fault: type[Fault]) -> None:
    fault()
    assert FAULTS[fault.name] is fault
    assert re.fullmatch(r"[a-z]+(-[a-z]+)*([+][a-z]+(-[a-z]+)*)?", fault.name)
    assert fault.package in PACKAGES
    assert fault.description
    assert "\n" not in fault.description
    assert 0 < fault.hold_s[0] <= fault.hold_s[1] <= 30
    assert 0 < fault.recovery_s <= 30


def test_packages_list_every_fault_once_in_reading_order() -> None:
    listed = [name for names in packages().values() for name in names]
    assert sorted(listed) == sorted(FAULTS)
    assert [name for name in FAULTS if FAULTS[name].package == "kill"] == packages()["kill"]
