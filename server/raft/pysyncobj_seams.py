"""The only file that touches private names of pysyncobj: a pinned library, used as a sans-IO core.

`Protocol` is the library's `SyncObj` with its disk, clock, chance, network, serializer and codec taken away. What
remains of it: terms, votes, the log's logic, counting acknowledgements, what to send to whom, stepping down, leadership
transfer. Replaced by name (the library calls them through name mangling, so a subclass may override them):

| its name | ours |
| --- | --- |
| `__connectedToAnyone` | `may_campaign`: elections start only when the core says so (H7, H15) |
| `__generateRaftTimeout` | draws from the core's generator |
| `__sendAppendEntries` | only notes that it is wanted; `send_appends` sends once a tick (H21) |
| `__applyLogEntries` | `on_apply`: the core's loop; an exception stops the process (H9) |
| `__tryLogCompaction` | nothing: snapshots are ours (H2, H10) |
| serializer | `_NoSerializer`: followers fetch snapshots by themselves (H19, H21) |
| `dynamicMembershipChange` | off: `membership.py` keeps the configuration and `set_others` hands it over (H23) |
| `pickle` | raises: no byte from network or disk is ever unpickled (H11) |

An upgrade of the library begins with reading its source against `docs/internals/raft_divergence.md`.
"""

import zlib
from collections.abc import Callable, Iterable
from typing import Any, Final, NoReturn, cast

import pysyncobj.syncobj as _library
from pysyncobj import SyncObj, SyncObjConf
from pysyncobj.node import Node
from pysyncobj.transport import Transport
from pysyncobj.version import VERSION

from base.errors import InvariantBroken
from server.raft.timings import APPEND_BATCH_BYTES, Timings

VERSION_WANTED: Final = "0.3.17"
FOLLOWER: Final = 0
CANDIDATE: Final = 1
LEADER: Final = 2

_METHODS: Final = (
    "_SyncObj__connectedToAnyone",
    "_SyncObj__generateRaftTimeout",
    "_SyncObj__sendAppendEntries",
    "_SyncObj__applyLogEntries",
    "_SyncObj__tryLogCompaction",
    "_SyncObj__setCurrentTerm",
    "_SyncObj__setState",
)
_ATTRIBUTES: Final = (
    "_SyncObj__otherNodes",
    "_SyncObj__connectedNodes",
    "_SyncObj__raftState",
    "_SyncObj__raftLog",
    "_SyncObj__raftCurrentTerm",
    "_SyncObj__votedForNodeId",
    "_SyncObj__raftLeader",
    "_SyncObj__raftElectionDeadline",
    "_SyncObj__raftCommitIndex",
    "_SyncObj__raftLastApplied",
    "_SyncObj__raftNextIndex",
    "_SyncObj__raftMatchIndex",
    "_SyncObj__lastResponseTime",
    "_SyncObj__noopIDx",
    "_SyncObj__serializer",
    "_SyncObj__transferInProgress",
    "_SyncObj__newAppendEntriesTime",
)
_GLOBALS: Final = ("monotonicTime", "createPoller", "createJournal", "PIPE_NOTIFIER_ENABLED", "pickle")


def _require_known_library() -> None:
    """Refuse to run on a library whose insides are not those that were read."""
    if VERSION != VERSION_WANTED:
        raise ImportError(
            f"pysyncobj {VERSION} is installed, but only {VERSION_WANTED} has been reviewed: pin it exactly"
        )
    made = SyncObj.__init__.__code__.co_names
    missing = [name for name in _METHODS if not hasattr(SyncObj, name)]
    missing += [name for name in _ATTRIBUTES if name not in made]
    missing += [name for name in _GLOBALS if not hasattr(_library, name)]
    if missing:
        raise ImportError(f"pysyncobj {VERSION} lacks what this program relies on: {', '.join(missing)}")


class _Clock:
    """The time of the core that is being stepped. One thread steps cores, one at a time."""

    now_s = 0.0


class _NoCodec:
    """Stands where the library would pickle (H11). Nothing we use reaches it."""

    @staticmethod
    def dumps(*_: object) -> NoReturn:
        raise InvariantBroken("the library tried to pickle")

    loads = dump = load = to_bytes = dumps


class _NoPoller:
    """Stands where the library would poll sockets."""

    def poll(self, timeout: float) -> None:
        """Nothing to wait for: the driver waits."""


class _NoSerializer:
    """Stands where the library would write and send snapshots."""

    def getTransmissionData(self, node: Node) -> None:  # noqa: N802
        """Nothing to send: the message that the library makes of it becomes an OFFER, and the follower fetches."""

    def setTransmissionData(self, data: object) -> bool:  # noqa: N802
        """Nothing arrives this way: a follower fetches."""
        return False

    def cancelTransmisstion(self, node: Node) -> None:  # noqa: N802
        """Nothing is ever under way."""


class _Outlet(Transport):  # type: ignore[misc]
    """Where the library's messages come out."""

    def __init__(self, on_send: Callable[[str, dict[str, Any]], None]) -> None:
        super().__init__(None, None, [])
        self._on_send = on_send

    def send(self, node: Node, message: dict[str, Any]) -> bool:
        """Hand a message of the library to the core."""
        self._on_send(node.id, message)
        return True

    def deliver(self, node: Node, message: dict[str, Any]) -> None:
        """Hand a message to the library."""
        self._onMessageReceived(node, message)


class ServerNode(Node):  # type: ignore[misc]
    """A server as the library knows it. Its hash doesn't change from run to run, so neither does the order of sets."""

    def __init__(self, server_id: str) -> None:
        super().__init__(server_id)
        self._stable_hash = zlib.crc32(server_id.encode())

    def __hash__(self) -> int:
        return self._stable_hash

    def __eq__(self, other: object) -> bool:
        return self is other or (isinstance(other, ServerNode) and other.id == self.id)


_require_known_library()
_library.monotonicTime = lambda: _Clock.now_s
_library.createPoller = lambda kind: _NoPoller()
_library.PIPE_NOTIFIER_ENABLED = False
_library.pickle = _NoCodec


def _configuration(timings: Timings, on_state_changed: Callable[[int, int], None]) -> SyncObjConf:
    return SyncObjConf(
        autoTick=False,
        commandsQueueSize=1,
        commandsWaitLeader=False,  # H16: nothing of ours waits in the library
        raftMinTimeout=timings.election_min_s,
        raftMaxTimeout=timings.election_max_s,
        connectionTimeout=timings.election_max_s,
        appendEntriesPeriod=timings.heartbeat_s,
        leaderFallbackTimeout=timings.election_max_s,  # H8
        appendEntriesUseBatch=True,
        appendEntriesBatchSizeBytes=APPEND_BATCH_BYTES,  # H5
        dynamicMembershipChange=False,  # H23: membership.py
        fullDumpFile=None,
        journalFile=None,
        useFork=False,
        onStateChanged=on_state_changed,
    )


class Protocol(SyncObj):  # type: ignore[misc]
    """The library as the core uses it. Every method runs at the time set by `at`."""

    # The library's own, which its constructor makes.
    _SyncObj__otherNodes: set[Node]
    _SyncObj__connectedNodes: set[Node]
    _SyncObj__raftState: int
    _SyncObj__raftLog: Any
    _SyncObj__raftCurrentTerm: int
    _SyncObj__votedForNodeId: str | None
    _SyncObj__raftLeader: Node | None
    _SyncObj__raftElectionDeadline: float
    _SyncObj__raftCommitIndex: int
    _SyncObj__raftLastApplied: int
    _SyncObj__raftNextIndex: dict[Node, int]
    _SyncObj__raftMatchIndex: dict[Node, int]
    _SyncObj__lastResponseTime: dict[Node, float]
    _SyncObj__noopIDx: int | None
    _SyncObj__transferInProgress: bool

    def __init__(
        self,
        *,
        self_id: str,
        log: object,
        timings: Timings,
        draw: Callable[[], float],
        on_send: Callable[[str, dict[str, Any]], None],
        on_state_changed: Callable[[int, int], None],
        on_apply: Callable[[int, int], int],
    ) -> None:
        self.may_campaign = False
        self.sends_wanted = False
        self._timings = timings
        self._draw = draw
        self._on_apply = on_apply
        self._nodes: dict[str, ServerNode] = {}
        self._outlet = _Outlet(on_send)
        _library.createJournal = lambda file_name: log
        super().__init__(self.node(self_id), [], _configuration(timings, on_state_changed), transport=self._outlet)
        self._SyncObj__serializer = _NoSerializer()

    # --- overridden by name

    def _SyncObj__connectedToAnyone(self) -> bool:  # noqa: N802
        return self.may_campaign

    def _SyncObj__generateRaftTimeout(self) -> float:  # noqa: N802
        low, high = self._timings.election_min_s, self._timings.election_max_s
        return low + (high - low) * self._draw()

    def _SyncObj__sendAppendEntries(self) -> None:  # noqa: N802
        self.sends_wanted = True

    def _SyncObj__applyLogEntries(self) -> bool:  # noqa: N802
        self._SyncObj__raftLastApplied = self._on_apply(self._SyncObj__raftLastApplied, self._SyncObj__raftCommitIndex)
        return False

    def _SyncObj__tryLogCompaction(self) -> None:  # noqa: N802
        pass

    # --- what the core may ask and do

    @staticmethod
    def at(now_s: float) -> None:
        """The library's time is `now_s` from here on."""
        _Clock.now_s = now_s

    def node(self, server_id: str) -> ServerNode:
        """The one object for this id."""
        node = self._nodes.get(server_id)
        if node is None:
            node = self._nodes[server_id] = ServerNode(server_id)
        return node

    def step(self) -> None:
        """Elect if allowed, count acknowledgements, step down without a quorum, apply."""
        self._SyncObj__newAppendEntriesTime = float("inf")  # heartbeats are sent by the core, once a tick
        if self._SyncObj__raftState == LEADER:
            self._skip_counting()
        self.doTick(0)

    def _skip_counting(self) -> None:
        """Spare the library counting every index in turn: go to the last but one that it would commit anyway.

        It decides the last one itself. Terms never fall along the log, so what it commits is everything up to the
        index that a majority has, if the entry there is of the current term; and nothing else.
        """
        matches = sorted((self._SyncObj__raftMatchIndex[node] for node in self._SyncObj__otherNodes), reverse=True)
        others_needed = (len(matches) + 1) // 2
        log = self._SyncObj__raftLog
        index = min(matches[others_needed - 1], log[-1][1]) if others_needed else log[-1][1]
        position = index - log[0][1]
        if index - 1 > self._SyncObj__raftCommitIndex and log[position][2] == self._SyncObj__raftCurrentTerm:
            self._SyncObj__raftCommitIndex = index - 1

    def deliver(self, server_id: str, message: dict[str, Any]) -> None:
        """Hand over one message in the library's own form."""
        self._outlet.deliver(self.node(server_id), message)

    def send_appends(self) -> None:
        """Send one append to every connected member; the core limits each to one message by `disconnect`."""
        self.sends_wanted = False
        SyncObj._SyncObj__sendAppendEntries(self)

    def connect(self, server_id: str) -> None:
        """Messages to this server may leave."""
        self._SyncObj__connectedNodes.add(self.node(server_id))

    def disconnect(self, server_id: str) -> None:
        """No more messages to this server."""
        self._SyncObj__connectedNodes.discard(self.node(server_id))

    def hand_over(self, server_id: str) -> None:
        """Send TIMEOUT_NOW, if that server has our whole log."""
        self.transferLeadership(self.node(server_id))

    def observe_term(self, term: int) -> None:
        """Somebody is in a higher term: follow into it, without a vote and without a leader."""
        self._SyncObj__setCurrentTerm(term, None)
        self._SyncObj__raftLeader = None
        self._SyncObj__setState(FOLLOWER)

    def step_down(self) -> None:
        """Stop leading in this term."""
        self._SyncObj__raftLeader = None
        self._SyncObj__setState(FOLLOWER)

    def set_others(self, server_ids: Iterable[str]) -> None:
        """The other members in force; new ones start behind our last entry, as the library does it."""
        wanted = {self.node(server_id) for server_id in sorted(server_ids)}
        known = self._SyncObj__otherNodes
        for node in sorted(known - wanted, key=lambda each: each.id):
            for table in (self._SyncObj__raftNextIndex, self._SyncObj__raftMatchIndex, self._SyncObj__lastResponseTime):
                table.pop(node, None)
        for node in sorted(wanted - known, key=lambda each: each.id):
            self._SyncObj__raftNextIndex[node] = self._SyncObj__raftLog[-1][1] + 1
            self._SyncObj__raftMatchIndex[node] = 0
            self._SyncObj__lastResponseTime[node] = _Clock.now_s
        self._SyncObj__otherNodes = wanted

    def has_other(self, server_id: str) -> bool:
        """Is it another member of the configuration in force?"""
        return self.node(server_id) in self._SyncObj__otherNodes

    def heard_from(self, server_id: str) -> None:
        """The follower has answered without speaking of its log."""
        self._SyncObj__lastResponseTime[self.node(server_id)] = _Clock.now_s

    def next_index(self, server_id: str) -> int:
        """Where the next append to this follower starts; 0 if it is unknown."""
        return self._SyncObj__raftNextIndex.get(self.node(server_id), 0)

    def set_next_index(self, server_id: str, index: int) -> None:
        """Start the next append to this follower at `index`."""
        self._SyncObj__raftNextIndex[self.node(server_id)] = index

    def match_index(self, server_id: str) -> int:
        """Up to here this follower is known to have our log; 0 if nothing is known."""
        return self._SyncObj__raftMatchIndex.get(self.node(server_id), 0)

    def set_positions(self, *, applied_index: int, commit_index: int) -> None:
        """A snapshot holds everything up to `applied_index`."""
        self._SyncObj__raftLastApplied = applied_index
        self._SyncObj__raftCommitIndex = commit_index

    def set_election_deadline(self, at_s: float) -> None:
        """Not before this does an election begin."""
        self._SyncObj__raftElectionDeadline = at_s

    @property
    def election_deadline_s(self) -> float:
        """When patience with the present leader ends."""
        return self._SyncObj__raftElectionDeadline

    def forget_transfer(self) -> None:
        """A leadership that was being handed to us is over."""
        self._SyncObj__transferInProgress = False

    @property
    def transfer_pending(self) -> bool:
        """Has the leader told us to campaign at once?"""
        return self._SyncObj__transferInProgress

    @property
    def state(self) -> int:
        """FOLLOWER, CANDIDATE or LEADER."""
        return self._SyncObj__raftState

    @property
    def term(self) -> int:
        """The current term."""
        return self._SyncObj__raftCurrentTerm

    @property
    def vote(self) -> str | None:
        """Whom we voted for in the current term."""
        return self._SyncObj__votedForNodeId

    @property
    def leader_id(self) -> str | None:
        """The leader of the current term, if we have heard from one."""
        leader = self._SyncObj__raftLeader
        return None if leader is None else cast(str, leader.id)

    @property
    def commit_index(self) -> int:
        """Everything up to here is decided for ever."""
        return self._SyncObj__raftCommitIndex

    @property
    def applied_index(self) -> int:
        """Everything up to here is in the state machine."""
        return self._SyncObj__raftLastApplied

    @property
    def no_op_index(self) -> int:
        """Index of the entry with which our latest leadership began; 0 before the first."""
        return self._SyncObj__noopIDx or 0
