"""Keeps the time of sessions and lost locks, and ends sessions through the log. `sessions.py` decides what is due.

Lost locks are remembered on every server, TTLs run only while this server leads. Renewing writes nothing: whoever
renews has first made sure that this server leads (`server/endpoints/session.py`).
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager

import trio

from base.errors import MeshError
from base.log import get_logger
from fsm.commands.registry import SESSION, encode_command
from fsm.machine import Machine
from fsm.store import session
from fsm.store.kv_rows import session_of
from fsm.store.names import key as key_of
from fsm.store.store import View
from fsm.store.tables import KVS, SESSIONS
from server.consensus import Consensus
from server.leader.sessions import SessionTimers
from server.lock_delays import LockDelays
from structs.session import DESTROYED_MAX, Session, SessionCommand, SessionVerb

TICK_S = 0.5
"""How often is looked; well below `sessions.GAP_S_MAX`."""
DUE_MAX = 4 * DESTROYED_MAX
"""Sessions taken up at a time."""
KEYS_MAX = 4096
"""Keys that the sessions of one command hold together, unless a single one holds more: an entry must stay short."""
ARMED_SLICE_COUNT = 500
PROPOSE_TIMEOUT_S = 30.0
PAUSE_S_MIN = 1.0
PAUSE_S_MAX = 30.0

_log = get_logger("server.leader")


def _holder(view: View, row_key: bytes) -> bytes:
    """Return the key of the session that holds a key, b"" where none does."""
    row = view.get(KVS, row_key)
    return key_of(session_of(row)) if row is not None else b""


class SessionExpiry:
    """One server's; `run` is a duty of its leadership. Also the machine's SessionListener."""

    def __init__(
        self, raft: Consensus, machine: Machine, *, monotonic_s: Callable[[], float] = trio.current_time
    ) -> None:
        self._raft = raft
        self._machine = machine
        self._monotonic_s = monotonic_s
        self._timers = SessionTimers()
        self._delays = LockDelays()
        self._ending: dict[bytes, int] = {}
        self._leads = False
        self._everything_anew = False

    # What the state machine tells

    def committed(self, sessions: Iterable[bytes], locks_lost: Sequence[tuple[bytes, int]]) -> None:
        """See SessionListener."""
        if locks_lost:
            self._delays.lost(locks_lost, self._monotonic_s())
        if not self._leads:
            return
        now_s = self._monotonic_s()
        with self._machine.read() as view:
            for key in sessions:
                row = view.get(SESSIONS, key)
                if row is None:
                    self._timers.disarm(key)
                else:
                    self._arm(key, session.of_row(row), now_s)

    def replaced(self) -> None:
        """See SessionListener. Known delays stay: they are soon over, and too long is better than too short."""
        self._everything_anew = True

    # What endpoints ask

    def renew(self, session_id: str) -> Session | None:
        """Give a session all its time again; None if there is none, or its end is on its way already."""
        with self._machine.read() as view:
            found = session.get(view, session_id)
        key = key_of(session_id)
        if found is None or self._timers.is_doomed(key):
            return None
        if self._leads:
            self._arm(key, found, self._monotonic_s())
        return found

    def may_lock(self, key: str) -> bool:
        """Whether nothing speaks against a new holder: no delay, and no holder whose end is on its way."""
        row_key = key.encode()
        if self._delays.remaining_s(row_key, self._monotonic_s()) > 0:
            return False
        with self._machine.read() as view:
            holder = _holder(view, row_key)
        return not (self._timers.is_doomed(holder) or holder in self._ending)

    def is_held_by_other(self, key: str, session_id: str) -> bool:
        """Whether a session that exists can't have a key now, since another one has it.

        To be asked where this server has just proved that it leads: then the lock need not be logged, and the end of
        the other session, if that is in the log by now, is not overtaken by it without a lock delay.
        """
        with self._machine.read() as view:
            holder = _holder(view, key.encode())
            return holder not in (b"", key_of(session_id)) and session.get(view, session_id) is not None

    @contextmanager
    def ending(self, session_id: str) -> Iterator[None]:
        """A client's wish to end a session is on its way to the log."""
        key = key_of(session_id)
        self._ending[key] = self._ending.get(key, 0) + 1
        try:
            yield
        finally:
            self._ending[key] -= 1
            if not self._ending[key]:
                del self._ending[key]

    def _arm(self, key: bytes, found: Session, now_s: float) -> None:
        if found.ttl_s > 0:
            self._timers.arm(key, found.ttl_s, now_s)

    # The duty

    async def run(self) -> None:
        """End sessions whose time is over until cancelled."""
        self._everything_anew = True
        try:
            while True:
                if self._everything_anew:
                    await self._arm_all()
                due = self._timers.due(self._monotonic_s(), DUE_MAX)
                for session_ids in self._commands(due):
                    await self._end(session_ids)
                if len(due) < DUE_MAX:
                    await trio.sleep(TICK_S)
        finally:
            self._leads = False
            self._timers.begin(0.0)

    async def _arm_all(self) -> None:
        self._everything_anew = False
        self._timers.begin(self._monotonic_s())
        self._leads = True  # from now on `committed` tells of new ones, in front of this walk or behind it
        last = b""
        while not self._everything_anew:
            with self._machine.read() as view:
                found = session.slice_after(view, last, ARMED_SLICE_COUNT)
            now_s = self._monotonic_s()
            for key, each in found:
                if not self._timers.is_armed(key):
                    self._arm(key, each, now_s)
            if len(found) < ARMED_SLICE_COUNT:
                return
            last = found[-1][0]
            await trio.lowlevel.checkpoint()

    def _commands(self, due: list[bytes]) -> list[list[str]]:
        """Return the sessions in groups of which each is one entry of the log: bounded in sessions and in keys."""
        groups: list[list[str]] = []
        keys_left = 0
        with self._machine.read() as view:
            for key in due:
                session_id = key.decode()
                count = session.keys_held_count(view, session_id, KEYS_MAX)
                if not groups or count > keys_left or len(groups[-1]) == DESTROYED_MAX:
                    groups.append([])
                    keys_left = KEYS_MAX
                groups[-1].append(session_id)
                keys_left -= count
        return groups

    async def _end(self, session_ids: list[str]) -> None:
        command = encode_command(SESSION, SessionCommand(verb=SessionVerb.DESTROY, session_ids=session_ids))
        pause_s = PAUSE_S_MIN
        while True:
            try:
                if not self._raft.lease_valid():
                    # After a pause of ours another may lead by now, and have renewed them.
                    await self._raft.confirm_leadership(timeout_s=PROPOSE_TIMEOUT_S)
                await self._raft.propose(command, timeout_s=PROPOSE_TIMEOUT_S)
            except MeshError as error:
                _log.warn("cannot end sessions", count=len(session_ids), error=str(error), again_in_s=pause_s)
            else:
                _log.info("sessions ended by their TTL", count=len(session_ids), first=session_ids[0])
                return
            await trio.sleep(pause_s)
            pause_s = min(2 * pause_s, PAUSE_S_MAX)
