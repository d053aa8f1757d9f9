"""Joins that read the other table before they show their own."""

from collections.abc import Callable

from gossip.exchanges import EXCHANGES_MAX
from gossip.instructions import Address, OpenStream
from gossip.layers import Node
from gossip.push_pull import decode_push_pull
from tests.fakes.swim_group import STRANGER, Group, Peer


def known(peer: Peer) -> set[str]:
    return set(peer.swim.nodes)


def rule(peer: Peer, refused: Callable[[set[str]], str | None]) -> None:
    """Let a member's rule depend on the names in a table."""

    def merge_refused(nodes: list[Node]) -> str | None:
        return refused({node.name for node in nodes})

    peer.upper.merge_refused = merge_refused  # type: ignore[method-assign]


def joins(group: Group, name: str, *others: str) -> dict[str, str]:
    """Let one join through several at once; return what came of each."""
    results: dict[str, str] = {}

    def done(other: str) -> Callable[[float, str], None]:
        return lambda _, text: results.__setitem__(other, text)

    for other in others:
        group[name].swim.push_pull(group.now_s, group[other].address, join=True, done=done(other))
    group._after(group[name])
    group.run_until(lambda: len(results) == len(others), within_s=60.0)
    return results


def test_who_looks_first_ends_up_as_everybody_does() -> None:
    group = Group(2, looks_first=True)
    group["a"].upper.state, group["b"].upper.state = b"of a", b"of b"
    assert group.join("b", "a") == ""
    assert known(group["a"]) == known(group["b"]) == {"a", "b"}
    assert group["a"].upper.merged == [(b"of b", True)]
    assert group["b"].upper.merged == [(b"of a", True)]


def test_who_is_refused_by_the_look_has_heard_of_nobody() -> None:
    group = Group(3, looks_first=True)
    assert group.join("b", "c") == ""
    rule(group["b"], lambda names: "not with a" if "a" in names else None)
    assert group.join("b", "a") == "not with a"
    group.run(60.0)
    assert known(group["a"]) == {"a"}
    assert known(group["b"]) == {"b", "c"}


def test_the_look_announces_nobody() -> None:
    group = Group(1, looks_first=True)
    peer = group["a"]
    peer.out.clear()
    peer.swim.push_pull(group.now_s, STRANGER, join=True, done=lambda now_s, text: None)
    (stream,) = [each for each in peer.out if isinstance(each, OpenStream)]
    table = decode_push_pull(stream.message)
    assert (table.nodes, table.user_state, table.join) == ([], b"", False)


def test_of_two_that_must_not_meet_only_one_is_joined_however_close_the_joins_are() -> None:
    group = Group(3, looks_first=True)

    def apart(names: set[str]) -> str | None:
        both = names | known(group["b"])
        return "a and c must not meet" if {"a", "c"} <= both else None

    rule(group["b"], apart)
    results = joins(group, "b", "a", "c")
    assert sorted(results.values()) == ["", "a and c must not meet"]
    group.run(60.0)
    (chosen,) = [name for name, text in results.items() if not text]
    (other,) = {"a", "c"} - {chosen}
    assert known(group["b"]) == known(group[chosen]) == {"b", chosen}
    assert known(group[other]) == {other}


def test_a_join_that_breaks_after_its_look_lets_the_next_one_go_on() -> None:
    group = Group(3, looks_first=True)
    seen: list[str] = []

    def passes(sender: Peer, receiver: Peer) -> bool:
        seen.append(receiver.name)
        return receiver.name != "a" or seen.count("a") == 1

    group.streams_pass = passes
    results = joins(group, "b", "a", "c")
    assert results["a"] != ""
    assert results["c"] == ""
    assert known(group["b"]) >= {"b", "c"}


def test_comparing_tables_needs_no_look() -> None:
    group = Group(1, looks_first=True)
    peer = group["a"]
    peer.out.clear()
    peer.swim.push_pull(group.now_s, STRANGER, join=False, done=lambda now_s, text: None)
    (stream,) = [each for each in peer.out if isinstance(each, OpenStream)]
    assert [node.name for node in decode_push_pull(stream.message).nodes] == ["a"]


def test_joins_that_wait_for_their_turn_count_as_running() -> None:
    group = Group(1, looks_first=True)
    texts: list[str] = []
    for number in range(EXCHANGES_MAX + 1):
        to = Address(f"10.1.0.{number}", 8301)
        group["a"].swim.push_pull(group.now_s, to, join=True, done=lambda now_s, text: texts.append(text))
    assert texts == [f"{EXCHANGES_MAX} exchanges of tables are running already"]
