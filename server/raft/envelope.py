"""Sans-IO: the list in which every Raft message travels, and what must hold of one before it is believed.

A message is `[kind, sender_term, sent_at_s, echo_s, flags, *body]`:

| kind | body | meaning |
| --- | --- | --- |
| APPEND | prev_index, prev_term, commit_index, entries | (command, index, term)s behind prev_index; heartbeat |
| APPEND_REPLY | next_index, reset, success | success: all below next_index is yours; reset: go on there |
| VOTE_REQUEST | last_index, last_term | may I lead in sender_term? |
| VOTE_REPLY | | yes, in sender_term |
| TIMEOUT_NOW | | campaign at once: I am handing over to you |
| PREVOTE_REQUEST | term_proposed, last_index, last_term | would you vote for me? |
| PREVOTE_REPLY | term_proposed, granted | I would, or I would not |
| OFFER | snapshot_index, snapshot_term, commit_index | heartbeat to a server that needs a snapshot of mine |
| HEARTBEAT_ACK | | I have heard you; says nothing of the log |
| STALE | | what you sent is of an older term than sender_term |

`sent_at_s` is the sender's monotonic time; `echo_s` in a reply is the newest `sent_at_s` processed from this leader in
this term (see `lease.py`), 0 elsewhere. Bodies may only grow at the end. Source: `docs/internals/raft_divergence.md`,
H6, H8, H20.
"""

from collections.abc import Sequence
from typing import Any, Final

from base.errors import InvalidRequest

KIND: Final = 0
SENDER_TERM: Final = 1
SENT_AT_S: Final = 2
ECHO_S: Final = 3
FLAGS: Final = 4
BODY: Final = 5

APPEND: Final = 1
APPEND_REPLY: Final = 2
VOTE_REQUEST: Final = 3
VOTE_REPLY: Final = 4
TIMEOUT_NOW: Final = 5
PREVOTE_REQUEST: Final = 6
PREVOTE_REPLY: Final = 7
OFFER: Final = 8
HEARTBEAT_ACK: Final = 9
STALE: Final = 10

FLAG_TRANSFER: Final = 1
"""This vote request follows a TIMEOUT_NOW: the old leader has given its lease up."""

INTEGER_MAX: Final = 2**62
_TIME_S_MAX: Final = 1e15

Message = list[Any]

_BODIES: Final[dict[int, tuple[type, ...]]] = {
    APPEND: (int, int, int, list),
    APPEND_REPLY: (int, bool, bool),
    VOTE_REQUEST: (int, int),
    VOTE_REPLY: (),
    TIMEOUT_NOW: (),
    PREVOTE_REQUEST: (int, int, int),
    PREVOTE_REPLY: (int, bool),
    OFFER: (int, int, int),
    HEARTBEAT_ACK: (),
    STALE: (),
}


def require_wellformed(message: object) -> int:
    """Return the kind of `message`; raises InvalidRequest unless it has the shape that the table above promises."""
    if type(message) is not list or len(message) < BODY or type(message[KIND]) is not int:
        raise InvalidRequest("raft message is not an envelope")
    kind: int = message[KIND]
    shape = _BODIES.get(kind)
    if shape is None or len(message) < BODY + len(shape):
        raise InvalidRequest(f"raft message of unknown kind or length: {kind}, {len(message)} fields")
    if not (_is_number(message[SENDER_TERM]) and _is_number(message[FLAGS])):
        raise InvalidRequest("raft message with a malformed term or flags")
    if not (_is_time(message[SENT_AT_S]) and _is_time(message[ECHO_S])):
        raise InvalidRequest("raft message with a malformed time")
    for wanted, field in zip(shape, message[BODY:], strict=False):
        if not _is_number(field) if wanted is int else type(field) is not wanted:
            raise InvalidRequest(f"raft message of kind {kind} with a malformed body")
    if kind == APPEND:
        _require_contiguous(message[SENDER_TERM], message[BODY], message[BODY + 1], message[BODY + 3])
    return kind


def _is_number(field: object) -> bool:
    return isinstance(field, int) and type(field) is int and 0 <= field <= INTEGER_MAX


def _is_time(field: object) -> bool:
    return isinstance(field, float) and -_TIME_S_MAX < field < _TIME_S_MAX


def _require_contiguous(sender_term: int, prev_index: int, prev_term: int, entries: Sequence[Any]) -> None:
    index, term = prev_index, prev_term
    for entry in entries:
        index += 1
        if (
            type(entry) not in (list, tuple)
            or len(entry) != 3
            or type(entry[0]) is not bytes
            or not entry[0]
            or type(entry[1]) is not int
            or entry[1] != index
            or type(entry[2]) is not int
            or entry[2] < term
        ):
            raise InvalidRequest(f"raft append with a malformed entry where index {index} should be")
        term = entry[2]
    if term > sender_term:
        raise InvalidRequest(f"raft append with an entry of term {term} from a sender in term {sender_term}")
