"""Answers that are kept for the next who asks: when they may be used, and what of them is the asker's own."""

import dns.edns
import dns.message
import pytest

from agent.dns.remembered import KEEP_S, KEEP_S_MAX, USES_MAX, VARIANTS_MAX, Key, Remembered, key_of


class Origin:
    def __init__(self) -> None:
        self.version = 1
        self.forgotten = False


def query(name: str = "web.service.consul", number: int = 7, kind: str = "A", **options: object) -> bytes:
    message = dns.message.make_query(name, kind, **options)  # type: ignore[arg-type]
    message.id = number
    return message.to_wire()


def key(data: bytes) -> Key:
    found = key_of(data)
    assert found is not None
    return found


def kept(remembered: Remembered, data: bytes, *, origin: Origin, varies: bool = False, at_s: float = 0.0) -> bytes:
    answer = data[:2] + b"\x85\x00" + data[4:] + b"the rest"
    remembered.keep(key(data), answer, [(origin, origin.version)], at_s=at_s, varies=varies)
    return answer


def test_another_asker_gets_the_answer_under_its_own_id_and_spelling() -> None:
    remembered, first, second = Remembered(count_max=9), query(), query("WEB.Service.CONSUL", 513)
    answer = kept(remembered, first, origin=Origin())
    found, renews = remembered.find(key(second), second, 0.5)
    assert found == second[:2] + answer[2:12] + second[12:-4] + answer[len(second) - 4 :]
    assert not renews


@pytest.mark.parametrize(
    "other",
    [
        query(kind="AAAA"),
        query("web2.service.consul"),
        query(use_edns=0, payload=1232),
        query(flags=0),
    ],
)
def test_another_question_is_another_matter(other: bytes) -> None:
    remembered = Remembered(count_max=9)
    kept(remembered, query(), origin=Origin())
    assert remembered.find(key(other), other, 0.0) == (None, False)


def test_sizes_that_askers_can_take_are_kept_apart_and_options_are_not() -> None:
    small, large = query(use_edns=0, payload=1232), query(use_edns=0, payload=4096)
    assert key(small) != key(large)
    assert key(
        query(use_edns=0, payload=1232, options=[dns.edns.GenericOption(dns.edns.OptionType(10), b"cookie12")])
    ) == key(small)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        query()[:11],
        query()[:-1],
        query() + b"x",
        b"\0\7\x81\0" + query()[4:],
        b"\0\7\x29\0" + query()[4:],
        b"\0\7\x01\x80" + query()[4:],
        query()[:4] + b"\0\2" + query()[6:],
        query(use_edns=0, payload=1232)[:-1],
        query(use_edns=0, payload=1232) + b"x",
        query(use_edns=1, payload=1232),
    ],
)
def test_what_is_out_of_the_ordinary_is_left_to_others(data: bytes) -> None:
    assert key_of(data) is None


def test_an_answer_is_gone_when_what_it_was_made_of_has_changed_or_is_not_kept_fresh() -> None:
    for change in ({"version": 2}, {"forgotten": True}):
        remembered, origin = Remembered(count_max=9), Origin()
        kept(remembered, query(), origin=origin)
        assert remembered.find(key(query()), query(), 0.0)[0] is not None
        for name, value in change.items():
            setattr(origin, name, value)
        assert remembered.find(key(query()), query(), 0.0) == (None, False)
        assert len(remembered) == 0


def test_after_a_while_one_of_those_who_ask_makes_it_anew_and_later_it_is_gone() -> None:
    remembered = Remembered(count_max=9)
    kept(remembered, query(), origin=Origin())
    asked = [remembered.find(key(query()), query(), KEEP_S) for _ in range(3)]
    assert [renews for _, renews in asked] == [True, False, False]
    assert all(answer is not None for answer, _ in asked)
    assert remembered.find(key(query()), query(), KEEP_S_MAX) == (None, False)


def test_answers_of_chance_take_turns_and_each_is_replaced_after_some_uses() -> None:
    remembered, origin, data = Remembered(count_max=9), Origin(), query()
    seen, made = [], 0
    for _ in range(USES_MAX * VARIANTS_MAX * 2):
        answer, renews = remembered.find(key(data), data, 0.0)
        if answer is None or renews:
            made += 1
            fresh = data + b"%d" % made
            remembered.keep(key(data), fresh, [(origin, 1)], at_s=0.0, varies=True)
            answer = answer or fresh
        seen.append(answer)
    assert len(set(seen)) > VARIANTS_MAX
    assert made < len(seen) / 8
    assert max(seen.count(answer) for answer in set(seen)) <= USES_MAX * 3


def test_the_number_of_questions_is_bounded() -> None:
    remembered = Remembered(count_max=3)
    for number in range(10):
        kept(remembered, query(f"w{number}.service.consul"), origin=Origin())
    assert len(remembered) == 3
