"""What the configuration says of DNS."""

import pytest

from agent.config.load import load
from agent.config.runtime import HostPort, RuntimeConfig
from agent.dns.settings import Soa
from base.errors import ConfigInvalid


def agent(*flags: str, hcl: str = "") -> RuntimeConfig:
    words = ["-data-dir=/x", "-bind=127.0.0.1", "-node=n1", *flags, *(("-hcl", hcl) if hcl else ())]
    return load(words, environment={}, role="agent")[0]


def test_dns_listens_on_its_usual_port_and_answers_from_the_cache() -> None:
    config = agent()
    assert config.dns_listen == (HostPort("127.0.0.1", 8600),)
    assert (config.dns.domain, config.dns.node_name, config.dns.use_cache, config.dns.udp_answer_limit) == (
        "consul",
        "n1",
        True,
        3,
    )
    assert config.dns.recursors == ()
    assert config.http_use_cache


def test_dns_can_be_elsewhere_or_off() -> None:
    assert agent("-dns-port=-1").dns_listen == ()
    config = agent("-client=10.0.0.1 unix:///tmp/x", hcl='ports { dns = 53 } addresses { dns = "10.0.0.2 ::1" }')
    assert config.dns_listen == (HostPort("10.0.0.2", 53), HostPort("::1", 53))
    assert agent("-client=10.0.0.1 unix:///tmp/x").dns_listen == (HostPort("10.0.0.1", 8600),)


def test_everything_that_dns_can_be_told_arrives() -> None:
    config = agent(
        "-recursor=9.9.9.9",
        "-recursor=[2620:fe::fe]:5353",
        "-alt-domain=Mesh.Example.",
        hcl="""
          domain = "corp." datacenter = "east"
          dns_config {
            allow_stale = false max_stale = "30s" use_cache = false cache_max_age = "9s" only_passing = true
            node_ttl = "7s" service_ttl { "Web" = "5s" "db-*" = "1m" "*" = "2s" }
            udp_answer_limit = 5 a_record_limit = 6 enable_truncate = true disable_compression = true
            enable_additional_node_meta_txt = false recursor_timeout = "3s" recursor_strategy = "random"
            soa { refresh = 1 retry = 2 expire = 3 min_ttl = 4 }
          }
          http_config { use_cache = false }
        """,
    )
    dns = config.dns
    assert dns.domains == ("corp", "mesh.example")
    assert dns.datacenter == "east"
    assert dns.recursors == (("9.9.9.9", 53), ("2620:fe::fe", 5353))
    assert (dns.recursor_timeout_s, dns.recursors_at_random) == (3.0, True)
    assert (dns.allow_stale, dns.max_stale_s, dns.use_cache, dns.cache_max_age_s) == (False, 30.0, False, 9.0)
    assert (dns.only_passing, dns.node_ttl_s, dns.node_meta_txt) == (True, 7, False)
    assert dns.service_ttls_s == {"web": 5, "db-*": 60, "*": 2}
    assert (dns.udp_answer_limit, dns.a_record_limit) == (5, 6)
    assert (dns.enable_truncate, dns.disable_compression) == (True, True)
    assert dns.soa == Soa(refresh=1, retry=2, expire=3, min_ttl=4)
    assert not config.http_use_cache


@pytest.mark.parametrize(
    ("hcl", "complaint"),
    [
        ('recursors = ["dns.example"]', "recursors: 'dns.example' is not IP"),
        ('recursors = ["9.9.9.9:0"]', "is not IP"),
        ('recursors = ["127.0.0.1:8600"]', "is where this agent itself answers DNS"),
        ("recursors = [" + ",".join(f'"10.0.0.{number}"' for number in range(17)) + "]", "at most 16"),
        ('dns_config { service_ttl { web = "soon" } }', "'web': expected a duration"),
        ('dns_config { service_ttl { web = "-1s" } }', "must be 0 to"),
        ('dns_config { service_ttl { "w*b" = "1s" } }', "may only be at the end"),
        ("dns_config { soa { serial = 1 } }", "invalid config key serial"),
        ('dns_config { soa { refresh = "1h" } }', "refresh: expected whole seconds"),
        ('dns_config { recursor_strategy = "best" }', "expected one of 'sequential', 'random'"),
        ('alt_domain = "a..b"', "alt_domain: 'a..b' is not a DNS name"),
        ('addresses { dns = "unix:///tmp/dns" }', "DNS needs an IP address"),
    ],
)
def test_what_cannot_be_is_refused_with_its_place(hcl: str, complaint: str) -> None:
    with pytest.raises(ConfigInvalid, match=complaint.replace("(", r"\(")):
        agent(hcl=hcl)


def test_a_recursor_on_our_port_is_refused_where_we_listen_everywhere() -> None:
    with pytest.raises(ConfigInvalid, match="itself answers DNS"):
        agent("-client=0.0.0.0", "-recursor=127.0.0.1:8600")
    assert agent("-client=0.0.0.0", "-recursor=10.0.0.9:8600").dns.recursors == (("10.0.0.9", 8600),)
