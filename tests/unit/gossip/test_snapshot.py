"""The snapshot file: what was written comes back, and damage costs no more than what it touched."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gossip.config import Settings
from gossip.context import Context
from gossip.instructions import Address, Instruction, WriteSnapshot
from gossip.snapshot import COMPACT_BYTES, Snapshotter, address_of, address_text, parse

names = st.text(st.characters(exclude_characters="\n", exclude_categories=["Cs"]), min_size=1, max_size=12)
addresses = st.builds(Address, st.ip_addresses().map(str), st.integers(0, 65535))


class File:
    """A snapshotter and the file that it writes."""

    def __init__(self, text: str = "", *, rejoin_after_leave: bool = False) -> None:
        self.out: list[Instruction] = []
        self.clocks = (1, 1, 1)
        settings = Settings(name="me", host="127.0.0.1", port=1, tags={}, rejoin_after_leave=rejoin_after_leave)
        self.context = Context(settings, rng=random.Random(1), out=self.out)
        self.writer = Snapshotter(self.context, lambda: self.clocks)
        self.text = text
        self.found = self.writer.begin(text)
        self.rewrites_count = 0

    def carry_out(self) -> None:
        for instruction in self.out:
            assert isinstance(instruction, WriteSnapshot)
            self.rewrites_count += instruction.replace
            self.text = instruction.text if instruction.replace else self.text + instruction.text
        self.out.clear()

    def settle(self, now_s: float) -> None:
        self.writer.watch_clocks(now_s)
        self.context.timers.run(now_s)
        self.carry_out()


def test_reads_what_the_compatible_agent_writes() -> None:
    text = (
        "alive: a 127.0.0.1:8301\nalive: with spaces 10.0.0.2:8301\nalive: six [::1]:8301\n"
        "#comment\ncoordinate: {}\nnot-alive: a\nclock: 7\nevent-clock: 8\nquery-clock: 9\nnonsense\nalive: x y\n"
    )
    snapshot = parse(text, rejoin_after_leave=False)
    assert snapshot.alive == {"with spaces": Address("10.0.0.2", 8301), "six": Address("::1", 8301)}
    assert snapshot.times == {"clock": 7, "event-clock": 8, "query-clock": 9}


def test_leave_clears_everything_but_the_clock_behind_it() -> None:
    text = "alive: a 127.0.0.1:1\nclock: 7\nevent-clock: 8\nleave\nclock: 9\n"
    assert parse(text, rejoin_after_leave=False).alive == {}
    assert parse(text, rejoin_after_leave=False).times == {"clock": 9, "event-clock": 0, "query-clock": 0}
    assert parse(text, rejoin_after_leave=True).alive == {"a": Address("127.0.0.1", 1)}
    assert parse(text, rejoin_after_leave=True).times["event-clock"] == 8


changes = st.lists(st.tuples(st.booleans(), names, addresses), max_size=30)


@given(changes, st.integers(1, 1 << 62))
def test_whatever_happens_a_replay_gives_who_is_alive(story: list[tuple[bool, str, Address]], time: int) -> None:
    file, alive = File(), {}
    for step, (is_alive, name, address) in enumerate(story):
        if is_alive:
            file.writer.alive(step, name, address)
            alive[name] = address
        else:
            file.writer.gone(step, name)
            alive.pop(name, None)
        file.settle(step)
    file.clocks = (time, 1, 2)
    file.settle(1000.0)
    file.settle(2000.0)
    snapshot = parse(file.text, rejoin_after_leave=False)
    assert snapshot.alive == alive
    assert snapshot.times == {"clock": time - 1, "event-clock": 0, "query-clock": 1}
    assert File(file.text).found == snapshot


@given(changes, st.data())
def test_a_file_cut_anywhere_is_read_up_to_its_last_whole_line(
    story: list[tuple[bool, str, Address]], data: st.DataObject
) -> None:
    file = File()
    for step, (is_alive, name, address) in enumerate(story):
        if is_alive:
            file.writer.alive(step, name, address)
        else:
            file.writer.gone(step, name)
    file.settle(1000.0)
    cut = data.draw(st.integers(0, len(file.text)))
    whole_lines = file.text[: file.text.rfind("\n", 0, cut) + 1]
    torn = File(file.text[:cut])
    assert torn.found == parse(whole_lines, rejoin_after_leave=False)
    torn.writer.alive(0, "new one", Address("127.0.0.9", 9))
    torn.settle(1000.0)
    expected = {**torn.found.alive, "new one": Address("127.0.0.9", 9)}
    assert parse(torn.text, rejoin_after_leave=False).alive == expected


@given(st.text())
def test_any_text_is_read_without_an_error(text: str) -> None:
    parse(text, rejoin_after_leave=False)


def test_lines_wait_for_each_other_half_a_second() -> None:
    file = File()
    file.writer.alive(0.0, "a", Address("127.0.0.1", 1))
    file.clocks = (5, 1, 1)
    file.settle(0.4)
    assert file.text == ""
    file.settle(0.5)
    assert file.text == "alive: a 127.0.0.1:1\nclock: 4\nevent-clock: 0\nquery-clock: 0\n"


def test_a_leave_is_written_at_once_and_nothing_about_members_after_it() -> None:
    file = File()
    file.writer.alive(0.0, "a", Address("127.0.0.1", 1))
    file.writer.leave(0.0)
    file.carry_out()
    assert file.text.startswith("alive: a 127.0.0.1:1\nleave\nclock:")
    file.writer.gone(1.0, "a")
    file.writer.alive(1.0, "b", Address("127.0.0.1", 1))
    file.settle(5.0)
    assert "not-alive" not in file.text
    assert "b" not in parse(file.text, rejoin_after_leave=True).alive


def test_a_long_file_is_written_anew_with_what_still_holds() -> None:
    file = File()
    for step in range(10_000):
        file.writer.alive(step, "flapping", Address("127.0.0.1", 1 + step % 2))
        file.settle(step + 0.6)
    assert file.rewrites_count == 2
    assert len(file.text) <= COMPACT_BYTES
    assert parse(file.text, rejoin_after_leave=False).alive == {"flapping": Address("127.0.0.1", 2)}


def test_a_cluster_whose_names_fill_the_file_does_not_rewrite_it_for_every_line() -> None:
    file = File()
    for number in range(6_000):
        file.writer.alive(number, f"member-with-a-longer-name-{number}", Address("127.0.0.1", 1))
        file.settle(number + 0.6)
    assert len(file.text) > COMPACT_BYTES
    assert file.rewrites_count <= 3


@pytest.mark.parametrize("address", [Address("127.0.0.1", 8301), Address("::1", 1)])
def test_addresses_survive_their_text(address: Address) -> None:
    assert address_of(address_text(address)) == address


@pytest.mark.parametrize("text", ["", "a:1", "1.2.3.4", "1.2.3.4:x", "1.2.3.4:65536", "1.2.3.4:-1", ":1", "1.2.3.4:²"])
def test_what_is_no_address_is_none(text: str) -> None:
    assert address_of(text) is None
