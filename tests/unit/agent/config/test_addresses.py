"""Which address is advertised, and what templates mean."""

import ipaddress

import pytest

from agent.config import addresses, interfaces
from agent.config.interfaces import InterfaceAddress, expand, interface_addresses
from base.errors import ConfigInvalid


def machine(monkeypatch: pytest.MonkeyPatch, *rows: tuple[str, str], default: str = "") -> None:
    """Let this machine have these addresses."""
    found = [InterfaceAddress(name, ipaddress.ip_address(text)) for name, text in rows]
    monkeypatch.setattr(interfaces, "interface_addresses", lambda: found)
    monkeypatch.setattr(interfaces, "_default_interface", lambda: default)


LOOPBACK = (("lo", "127.0.0.1"), ("lo", "::1"))


def test_the_only_private_address_is_advertised(monkeypatch: pytest.MonkeyPatch) -> None:
    machine(monkeypatch, *LOOPBACK, ("eth0", "10.0.0.5"), ("eth1", "8.8.4.4"), ("eth0", "fe80::1"))
    assert addresses.bind_and_advertise("0.0.0.0", "") == ("0.0.0.0", "10.0.0.5")


def test_several_private_addresses_need_a_choice(monkeypatch: pytest.MonkeyPatch) -> None:
    machine(monkeypatch, ("eth0", "10.0.0.5"), ("docker0", "172.17.0.1"))
    with pytest.raises(ConfigInvalid) as caught:
        addresses.bind_and_advertise("0.0.0.0", "")
    assert "Multiple private IPv4 addresses found. Please configure one with 'bind' and/or 'advertise'." in str(
        caught.value
    )
    assert addresses.bind_and_advertise("0.0.0.0", "172.17.0.1") == ("0.0.0.0", "172.17.0.1")


def test_no_private_address_needs_a_choice(monkeypatch: pytest.MonkeyPatch) -> None:
    machine(monkeypatch, *LOOPBACK)
    with pytest.raises(ConfigInvalid, match="No private IPv4 address found"):
        addresses.bind_and_advertise("0.0.0.0", "")


@pytest.mark.parametrize(
    ("template", "expected"),
    [
        ("{{ GetPrivateIP }}", "10.0.0.5"),
        ("{{GetPrivateIPs}}", "10.0.0.5 fd00::5"),
        ('{{ GetInterfaceIP "eth1" }}', "192.168.7.1"),
        ("{{ GetInterfaceIP `eth1` }}", "192.168.7.1"),
        ("{{ GetPublicIP }}", "8.8.4.4"),
        ("127.0.0.1 {{ GetPrivateIP }}", "127.0.0.1 10.0.0.5"),
        ("10.1.1.1", "10.1.1.1"),
    ],
)
def test_templates_become_addresses(monkeypatch: pytest.MonkeyPatch, template: str, expected: str) -> None:
    rows = (*LOOPBACK, ("eth1", "192.168.7.1"), ("eth0", "fd00::5"), ("eth0", "10.0.0.5"), ("eth2", "8.8.4.4"))
    machine(monkeypatch, *rows, default="eth0")
    assert expand("bind_addr", template) == expected


@pytest.mark.parametrize(
    "template",
    ["{{ GetAllInterfaces | attr `address` }}", "{{ GetInterfaceIP }}", '{{ GetPrivateIP "eth0" }}', "{{ }}"],
)
def test_other_templates_are_refused_by_name(template: str) -> None:
    with pytest.raises(ConfigInvalid, match=r"bind_addr: the template .* is not supported"):
        expand("bind_addr", template)


def test_a_template_that_finds_nothing_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    machine(monkeypatch, *LOOPBACK)
    with pytest.raises(ConfigInvalid, match="finds no address"):
        expand("bind_addr", "{{ GetPublicIP }}")


def test_the_kernel_is_asked_for_real() -> None:
    assert InterfaceAddress("lo", ipaddress.ip_address("127.0.0.1")) in interface_addresses()
