"""Whatever a leader sends, the trimmed append and the library together do what figure 2 of the paper says."""

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from base.errors import InvariantBroken
from server.raft.trimming import Trimmed, trim_append

Entry = tuple[bytes, int, int]


class Log:
    """A log of terms; the base comes first."""

    def __init__(self, first_index: int, terms: list[int]) -> None:
        self.first_index = first_index
        self.terms = terms

    @property
    def last_index(self) -> int:
        return self.first_index + len(self.terms) - 1

    def term_at(self, index: int) -> int | None:
        position = index - self.first_index
        return self.terms[position] if 0 <= position < len(self.terms) else None

    def library_append(self, trimmed: Trimmed) -> None:
        """What the library does: cut behind prev, whatever is there, and append."""
        if self.term_at(trimmed.prev_index) != trimmed.prev_term:
            return
        del self.terms[trimmed.prev_index + 1 - self.first_index :]
        self.terms += [term for _, _, term in trimmed.entries]


def paper_append(terms: dict[int, int], prev_index: int, prev_term: int, entries: list[Entry]) -> int:
    """AppendEntries RPC, figure 2, on a log without a base; returns the last index known to match (0: refused)."""
    if terms.get(prev_index) != prev_term:
        return 0
    for _, index, term in entries:
        if terms.get(index, term) != term:
            for known in [known for known in terms if known >= index]:
                del terms[known]
        terms[index] = term
    return prev_index + len(entries)


@st.composite
def situations(draw: st.DrawFn) -> tuple[list[int], list[int], int, int, int, int]:
    """Two logs that agree up to some index as real ones do: the leader's and ours; where the append begins and ends."""
    common = sorted(draw(st.lists(st.integers(1, 3), min_size=1, max_size=6)))
    last = common[-1]
    leader = common + sorted(draw(st.lists(st.integers(last, 9).filter(lambda term: term % 2 == 0), max_size=6)))
    ours = common + sorted(draw(st.lists(st.integers(last, 9).filter(lambda term: term % 2 == 1), max_size=6)))
    if draw(st.booleans()):
        ours = leader[: draw(st.integers(len(common), len(leader)))]
    start = draw(st.integers(1, len(leader)))
    end = draw(st.integers(start, len(leader)))
    trimmed_to = draw(st.integers(1, len(common)))
    verified = draw(st.sampled_from((0, len(common))))
    return leader, ours, start, end, trimmed_to, verified


@given(situations())
def test_the_log_ends_as_the_paper_says_and_only_what_was_compared_is_acknowledged(
    situation: tuple[list[int], list[int], int, int, int, int],
) -> None:
    leader, ours, start, end, first_index, verified = situation
    entries: list[Entry] = [(b"", index, leader[index - 1]) for index in range(start + 1, end + 1)]
    expected = dict(enumerate(ours, start=1))
    matched = paper_append(expected, start, leader[start - 1], entries)
    log = Log(first_index, ours[first_index - 1 :])
    trimmed = trim_append(
        log,
        prev_index=start,
        prev_term=leader[start - 1],
        entries=entries,
        verified_index=verified,
        commit_index=first_index,
    )
    log.library_append(trimmed)
    held = {log.first_index + position: term for position, term in enumerate(log.terms)}
    assert held == {index: term for index, term in expected.items() if index >= first_index} or start < first_index
    if trimmed.verified_index:
        agreed = min(trimmed.verified_index, len(leader))
        assert trimmed.verified_index <= max(matched, verified, first_index)
        assert all(held[index] == leader[index - 1] for index in range(first_index, agreed + 1))
    else:
        assert matched == 0 or start < first_index
        assert 0 < trimmed.hint_index <= log.last_index + 1


@given(situations(), st.data())
def test_what_was_verified_is_never_cut(situation: Any, data: st.DataObject) -> None:
    leader, _, start, end, first_index, _ = situation
    verified = data.draw(st.integers(first_index, len(leader)))
    tail = data.draw(st.lists(st.just(leader[-1]), max_size=3))
    log = Log(first_index, leader[first_index - 1 : verified] + tail)
    entries: list[Entry] = [(b"", index, leader[index - 1]) for index in range(start + 1, end + 1)]
    before = log.terms[: verified + 1 - first_index]
    try:
        trimmed = trim_append(
            log,
            prev_index=start,
            prev_term=leader[start - 1],
            entries=entries,
            verified_index=verified,
            commit_index=first_index,
        )
    except InvariantBroken:
        raise AssertionError("a resend of what was verified is no contradiction") from None
    log.library_append(trimmed)
    assert log.terms[: verified + 1 - first_index] == before
