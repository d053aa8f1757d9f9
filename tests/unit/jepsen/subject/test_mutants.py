"""Every mutant still finds what it breaks in the product, and a name that is gone is told."""

import os
import subprocess
import sys

import pytest

from jepsen.subject.__main__ import EXIT_USAGE, main
from jepsen.subject.mutants import BREAK_VARIABLE, MUTANTS
from jepsen.subject.patching import NameGone, replace_name, require_source, wrap_method


@pytest.mark.parametrize("name", MUTANTS)
def test_a_mutant_finds_the_names_that_it_replaces(name: str) -> None:
    # In a process of its own: what it replaces would stay replaced here.
    done = subprocess.run(
        [sys.executable, "-m", "jepsen.subject", "mesh-server", "-version"],
        env={**os.environ, BREAK_VARIABLE: name, "MESH_SUBJECT_PAGE": ""},
        capture_output=True,
        text=True,
        check=False,
        timeout=30,
    )
    assert done.returncode == 0, done.stderr
    assert f"broken on purpose: {name}" in done.stderr
    assert done.stdout.startswith("mesh v")


def test_without_a_mutant_it_is_the_product() -> None:
    for command in (["mesh-server", "-version"], ["mesh-server", "-no-such-option"]):
        ours, product = (
            subprocess.run([*start, *command[1:]], capture_output=True, text=True, check=False, timeout=30)
            for start in ([sys.executable, "-m", "jepsen.subject", command[0]], [sys.executable, "-m", "server.main"])
        )
        assert (ours.returncode, ours.stdout, ours.stderr) == (product.returncode, product.stdout, product.stderr)


def test_unknown_programs_and_mutants_are_refused(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([]) == EXIT_USAGE
    assert main(["mesh-nothing"]) == EXIT_USAGE
    monkeypatch.setenv(BREAK_VARIABLE, "nothing")
    assert main(["mesh-server"]) == EXIT_USAGE
    assert "no mutant is called 'nothing'" in capsys.readouterr().err


class Product:
    limit = 1

    def method(self) -> int:
        return self.limit


def test_names_that_are_gone_are_told() -> None:
    with pytest.raises(NameGone, match="Product has no colour"):
        replace_name(Product, "colour", 1)
    with pytest.raises(NameGone, match="Product has no method limit"):
        wrap_method(Product, "limit", lambda method: method)
    with pytest.raises(NameGone, match=r"Product\.method no longer says 'self\.colour'"):
        require_source(Product.method, "self.limit", "self.colour")
    assert Product().method() == 1


def test_what_is_there_is_replaced() -> None:
    assert replace_name(Product, "limit", 2) == 1
    wrap_method(Product, "method", lambda method: lambda self: 10 * method(self))
    assert Product().method() == 20
