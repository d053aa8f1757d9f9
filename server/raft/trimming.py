"""Sans-IO: makes the library treat an append as the paper says (hazard H4).

The library cuts its log behind `prevLogIdx` on *every* append, even where the entries match, and takes its own last
index for "verified" when it answers and when it advances the commit index. A message that was sent twice can therefore
shorten what this server has already acknowledged; if the leader fails in that moment, committed entries are lost.
The paper (5.3, figure 2) cuts only at a real conflict. So the message is rewritten before the library sees it:

* entries that our log already holds (same index, same term) are dropped and `prevLogIdx` moves behind them;
* if nothing is left, `prevLogIdx` becomes our own last entry, so nothing is cut. What lies behind the last *verified*
  index may still be wrong, so the answer and the commit index are limited to `verified_index` by the caller;
* if the rest conflicts, it goes to the library as it is, which cuts from the conflict on.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple, Protocol

from base.errors import InvariantBroken, require


class Terms(Protocol):
    """What is asked of a log."""

    @property
    def first_index(self) -> int: ...
    @property
    def last_index(self) -> int: ...
    def term_at(self, index: int) -> int | None: ...


class Trimmed(NamedTuple):
    """An append as the library may see it."""

    prev_index: int
    prev_term: int
    entries: Sequence[Any]
    verified_index: int
    """Up to here our log is known to be the leader's; 0 where the append doesn't fit our log at all."""
    hint_index: int
    """Where it doesn't fit: where the leader should go on; 0 leaves that to the library."""


def trim_append(
    log: Terms, *, prev_index: int, prev_term: int, entries: Sequence[Any], verified_index: int, commit_index: int
) -> Trimmed:
    """Return the append that changes `log` exactly where it differs from the leader's.

    Args: `entries` are (command, index, term) behind `prev_index`, checked to be contiguous; `verified_index` is the
    highest index already acknowledged to this leader in this term (0: none); `commit_index` is our own.
    Raises: InvariantBroken where the leader contradicts what is committed or was acknowledged to it.
    """
    first, last = log.first_index, log.last_index
    if prev_index == last and log.term_at(last) == prev_term:
        return Trimmed(prev_index, prev_term, entries, prev_index + len(entries), 0)
    if prev_index < first:
        # Everything up to our base is committed, so it is the leader's too: start behind it.
        skip = first - prev_index
        if skip > len(entries) or entries[skip - 1][2] != log.term_at(first):
            return Trimmed(prev_index, prev_term, entries, 0, last + 1)
        entries, prev_index, prev_term = entries[skip:], first, entries[skip - 1][2]
    if prev_index > last:
        return Trimmed(prev_index, prev_term, entries, 0, last + 1)
    if log.term_at(prev_index) != prev_term:
        require(prev_index > commit_index, "a leader contradicts a committed entry", prev_index, prev_term)
        return Trimmed(prev_index, prev_term, entries, 0, _conflict_hint(log, prev_index, commit_index))
    matched = 0
    for entry in entries:
        if entry[1] > last or log.term_at(entry[1]) != entry[2]:
            break
        matched += 1
    match_index = prev_index + matched
    rest = entries[matched:]
    if not rest:
        verified = max(verified_index, match_index)
        return Trimmed(last, _term(log, last), rest, min(verified, last), 0)
    if match_index < last:
        require(match_index >= commit_index, "a leader overwrites a committed entry", match_index + 1)
        require(match_index >= verified_index, "a leader takes back what it had acknowledged", match_index + 1)
    return Trimmed(match_index, _term(log, match_index), rest, match_index + len(rest), 0)


def _term(log: Terms, index: int) -> int:
    term = log.term_at(index)
    if term is None:
        raise InvariantBroken(f"the log has no entry {index}")
    return term


def _conflict_hint(log: Terms, index: int, commit_index: int) -> int:
    """Where the leader should try next: the first of our entries of the conflicting term (Raft paper, end of 5.3)."""
    term = log.term_at(index)
    lowest = max(log.first_index, commit_index) + 1
    while index > lowest and log.term_at(index - 1) == term:
        index -= 1
    return index
