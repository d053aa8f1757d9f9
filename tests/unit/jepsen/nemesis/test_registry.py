"""The list of faults."""

import importlib
import inspect
import pkgutil
import re

import pytest

import jepsen.nemesis
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
    assert fault.servers_min in (1, 3, 5)


def test_every_fault_that_has_a_name_is_registered() -> None:
    written = {
        value.name: value
        for module in pkgutil.iter_modules(jepsen.nemesis.__path__, "jepsen.nemesis.")
        for value in vars(importlib.import_module(module.name)).values()
        if inspect.isclass(value) and issubclass(value, Fault) and "name" in vars(value)
    }
    assert written
    assert written == {name: fault for name, fault in FAULTS.items() if fault.package != "combined"}


def test_every_package_of_the_plan_is_there() -> None:
    assert set(packages()) == PACKAGES


def test_packages_list_every_fault_once_in_reading_order() -> None:
    listed = [name for names in packages().values() for name in names]
    assert sorted(listed) == sorted(FAULTS)
    assert [name for name in FAULTS if FAULTS[name].package == "kill"] == packages()["kill"]
