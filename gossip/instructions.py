"""Sans-IO: what goes into the gossip machine (events) and what it asks for in return (instructions).

Packets and stream messages are *plain* here: the driver has decrypted, unpacked and checked what comes in, and does
the opposite with what goes out. All times are monotonic seconds that come with the event. An operation (a join, a
leave, a query …) has a number of its caller's; it ends with exactly one `Finished` of that number.
"""

from enum import IntEnum
from typing import Any, NamedTuple

import msgspec


class Address(NamedTuple):
    """Where a member's UDP and TCP port is; the host is the text of an IP address, never a name."""

    host: str
    port: int


class Status(IntEnum):
    """How a member stands; the numbers are those of the HTTP API."""

    NONE = 0
    ALIVE = 1
    LEAVING = 2
    LEFT = 3
    FAILED = 4


Versions = tuple[int, int, int, int, int, int]
VERSIONS: Versions = (1, 5, 2, 2, 5, 4)
"""Protocol least, highest, spoken; the same of the layer above. What we send, exactly (wire format, section 2.1)."""


class Member(msgspec.Struct, frozen=True, kw_only=True):
    """One member as the application sees it."""

    name: str
    address: Address
    tags: dict[str, str]
    status: Status
    versions: Versions = VERSIONS


# In


class Event(msgspec.Struct, frozen=True, kw_only=True):
    """It happened, at `at_s`."""

    at_s: float


class Started(Event, frozen=True, kw_only=True):
    """The sockets are open. `snapshot` is the text of the snapshot file, "" if there was none."""

    snapshot: str = ""


class PacketReceived(Event, frozen=True, kw_only=True):
    """A datagram, plain: one message or a compound of messages."""

    source: Address
    payload: bytes


class TimerFired(Event, frozen=True, kw_only=True):
    """The time of the last `WakeAt` has come."""


class StreamRequest(Event, frozen=True, kw_only=True):
    """Another member opened a stream and sent this one message; it waits for `AnswerStream` or `CloseStream`."""

    stream_id: int
    source: Address
    message: bytes


class StreamAnswered(Event, frozen=True, kw_only=True):
    """The answer to our `OpenStream`."""

    stream_id: int
    message: bytes


class StreamFailed(Event, frozen=True, kw_only=True):
    """Our `OpenStream` came to nothing; `text` says why, with the remote error where there was one."""

    stream_id: int
    text: str


class JoinWanted(Event, frozen=True, kw_only=True):
    """Join through each of these. Finished with JoinResult."""

    operation: int
    addresses: list[Address]


class LeaveWanted(Event, frozen=True, kw_only=True):
    """Leave gracefully. Finished with None once the farewells are out; packets are to be answered a while longer."""

    operation: int


class ForceLeaveWanted(Event, frozen=True, kw_only=True):
    """Turn a failed member into one that left; `prune` forgets it at once. Finished with True, False if unknown."""

    operation: int
    name: str
    prune: bool = False


class UserEventWanted(Event, frozen=True, kw_only=True):
    """Send a user event to everybody, ourselves included. Finished with None, or an error text if it is too large."""

    operation: int
    name: str
    payload: bytes
    coalesce: bool = False


class QueryWanted(Event, frozen=True, kw_only=True):
    """Ask everybody. Finished with QueryResult when the time is over, or as soon as all alive members answered.

    Finished with an error text at once if it cannot be asked: too large, a wrong expression, too many under way.
    """

    operation: int
    name: str
    payload: bytes
    names: list[str] = []
    """Only these members; [] for all."""
    tags: dict[str, str] = {}
    """Only members whose tag matches this regular expression somewhere."""
    wants_acks: bool = False
    relay_factor: int = 0
    timeout_s: float | None = None
    """None: by the size of the cluster."""


class QueryAnswered(Event, frozen=True, kw_only=True):
    """The application's answer to a `QueryArrived`; None sends nothing."""

    query_id: int
    payload: bytes | None


class KeyringWanted(Event, frozen=True, kw_only=True):
    """Install, use, remove or list keys everywhere. Finished with KeyringResult."""

    operation: int
    verb: str
    """install, use, remove or list."""
    key: bytes = b""
    relay_factor: int = 0


class TagsChanged(Event, frozen=True, kw_only=True):
    """Our own tags are these from now on."""

    tags: dict[str, str]


# Out


class Instruction(msgspec.Struct, frozen=True, kw_only=True):
    """Please do it."""


class SendPacket(Instruction, frozen=True, kw_only=True):
    """Send a plain datagram; the driver compresses, adds the checksum if `with_crc`, and seals."""

    to: Address
    payload: bytes
    with_crc: bool = False


class OpenStream(Instruction, frozen=True, kw_only=True):
    """Dial, send one message, and deliver the one answer (none is expected if `one_way`), all until `deadline_s`."""

    stream_id: int
    to: Address
    message: bytes
    deadline_s: float
    one_way: bool = False


class AnswerStream(Instruction, frozen=True, kw_only=True):
    """Send this as the answer to a `StreamRequest`, then close."""

    stream_id: int
    message: bytes


class CloseStream(Instruction, frozen=True, kw_only=True):
    """Close the stream of a `StreamRequest` without an answer."""

    stream_id: int


class WakeAt(Instruction, frozen=True, kw_only=True):
    """Send `TimerFired` then; replaces the time of the last one."""

    at_s: float


class WriteSnapshot(Instruction, frozen=True, kw_only=True):
    """Append to the snapshot file, or with `replace` write it anew (atomically)."""

    text: str
    replace: bool = False


class WriteKeyring(Instruction, frozen=True, kw_only=True):
    """The keys in force, primary first, have changed: use them from now on, and write their file."""

    keys: list[bytes]


class Log(Instruction, frozen=True, kw_only=True):
    """One line for the log; `level` is debug, info, warn or error."""

    level: str
    text: str
    fields: dict[str, Any] = {}


class Finished(Instruction, frozen=True, kw_only=True):
    """The end of an operation."""

    operation: int
    result: Any


class Stop(Instruction, frozen=True, kw_only=True):
    """This member must leave the stage at once, since another one has its name; `text` says which."""

    text: str


class MembersChanged(Instruction, frozen=True, kw_only=True):
    """`kind` is join, leave, failed, update or reap."""

    kind: str
    members: list[Member]


class UserEventArrived(Instruction, frozen=True, kw_only=True):
    """A user event, seen for the first time."""

    lamport_time: int
    name: str
    payload: bytes
    coalesce: bool


class QueryArrived(Instruction, frozen=True, kw_only=True):
    """A query for the application, to be answered by `QueryAnswered` until `deadline_s`."""

    query_id: int
    name: str
    payload: bytes
    deadline_s: float


# Results of operations


class JoinResult(msgspec.Struct, frozen=True, kw_only=True):
    """How many of the addresses answered and took us in, and what the others said ("host:port" -> text)."""

    contacted_count: int
    errors: dict[str, str]


class QueryResult(msgspec.Struct, frozen=True, kw_only=True):
    """Who acknowledged, and what each answered."""

    acks: list[str]
    answers: dict[str, bytes]


class KeyringResult(msgspec.Struct, frozen=True, kw_only=True):
    """What a key operation came to; `error` "" if every member reported success."""

    nodes_count: int
    answers_count: int
    errors_count: int
    messages: dict[str, str]
    keys: dict[str, int]
    """base64 key -> how many members have it."""
    primary_keys: dict[str, int]
    """Empty as long as members do not say."""
    error: str
