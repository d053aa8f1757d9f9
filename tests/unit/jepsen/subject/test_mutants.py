"""Every mutant still finds what it breaks in the product, and a name that is gone is told."""

import os
import subprocess
import sys

import pytest

from jepsen.subject.__main__ import EXIT_USAGE, main
from jepsen.subject.mutants import BREAK_VARIABLE, MUTANTS
from jepsen.subject.page import PAGE_VARIABLE
from jepsen.subject.patching import NameGone, replace_name, require_source, wrap_method

APPLY_EACH_IN_A_CHILD = """
import os, sys, traceback
from jepsen.subject.mutants import MUTANTS
for mutant in MUTANTS.values():
    if os.fork() == 0:
        try:
            mutant.apply()
        except BaseException:
            traceback.print_exc()
            os._exit(1)
        os._exit(0)
    if os.wait()[1] == 0:
        print(mutant.name)
"""


def test_every_mutant_finds_the_names_that_it_replaces() -> None:
    # In processes of their own: what they replace would stay replaced here.
    done = subprocess.run(
        [sys.executable, "-c", APPLY_EACH_IN_A_CHILD],
        env={**os.environ, PAGE_VARIABLE: "/nowhere/server-2/page"},
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    assert done.stdout.split() == list(MUTANTS), done.stderr


def test_a_mutant_is_named_and_the_program_runs() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "jepsen.subject", "mesh-server", "-version"],
        env={**os.environ, BREAK_VARIABLE: "no_fsync"},
        capture_output=True,
        text=True,
        check=True,
        timeout=30,
    )
    assert "broken on purpose: no_fsync" in done.stderr
    assert done.stdout.startswith("mesh v")


def test_without_a_mutant_it_is_the_product() -> None:
    for option in ("-version", "-no-such-option"):
        ours, product = (
            subprocess.run(
                [sys.executable, "-m", *words, option], capture_output=True, text=True, check=False, timeout=30
            )
            for words in (("jepsen.subject", "mesh-server"), ("server.main",))
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
