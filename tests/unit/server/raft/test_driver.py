"""The order of a round's effects, and what a full, failing or hanging disk does to it: with a core that only notes."""

from __future__ import annotations

import threading
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any, cast

import pytest
import trio
import trio.testing

from base.elapsed import elapsed_s
from base.errors import DiskFailed, InvalidRequest, InvariantBroken, MeshError, NoLeader, OutcomeUnknown, RateLimited
from server.raft import driver as module
from server.raft.core import Core, FetchSnapshot, Outbox, Outcome
from server.raft.driver import RaftDriver
from server.raft.journal import Journal
from server.raft.proposals import Proposal
from server.raft.transport import RaftTransport

WAIT_S = 20.0
FETCH = FetchSnapshot(from_id="b", index=9, term=1)


class NotingCore:
    """Notes what it is told; `next_outbox` is what the next tick returns."""

    def __init__(self, notes: list[Any]) -> None:
        self.notes = notes
        self.is_leader = True
        self.next_outbox = Outbox(entries=[], promises=[], results=[])
        self.receive_error: Exception | None = None
        self.propose_error: MeshError | None = None
        self.wake_s = float("inf")
        self.proposed: list[Proposal] = []

    def receive(self, server_id: str, epoch: int, message: list[Any], now_s: float) -> None:
        self.notes.append(("receive", message))
        if self.receive_error is not None:
            error, self.receive_error = self.receive_error, None
            raise error

    def propose(self, command: bytes, token: Proposal, now_s: float) -> None:
        if self.propose_error is not None:
            raise self.propose_error
        self.notes.append(("propose", command))
        self.proposed.append(token)

    def peer_connected(self, server_id: str, epoch: int, now_s: float) -> None:
        self.notes.append(("connected", server_id, epoch))

    def peer_disconnected(self, server_id: str, epoch: int, now_s: float) -> None:
        self.notes.append(("disconnected", server_id, epoch))

    def set_window_open(self, server_id: str, is_open: bool) -> None:
        self.notes.append(("window", server_id, is_open))

    def tick(self, now_s: float) -> Outbox:
        self.notes.append("tick")
        outbox, self.next_outbox = self.next_outbox, Outbox(entries=[], promises=[], results=[])
        return outbox

    def next_wake_s(self, now_s: float) -> float:
        return self.wake_s


class NotingJournal:
    """A sync notes its beginning and end; it fails with `error`, and waits for `gate` if there is one."""

    def __init__(self, notes: list[Any]) -> None:
        self.notes = notes
        self.dirty = False
        self.error: Exception | None = None
        self.gate: threading.Event | None = None
        self.during: Callable[[], None] = lambda: None

    def begin_sync(self) -> Callable[[], None]:
        self.dirty = False

        def write() -> None:
            self.notes.append("sync begins")
            self.during()
            if self.gate is not None:
                assert self.gate.wait(WAIT_S)
            if self.error is not None:
                raise self.error
            self.notes.append("sync ends")

        return write


class Parts:
    """A driver with everything around it replaced by notes."""

    def __init__(self, **options: Any) -> None:
        self.notes: list[Any] = []
        self.core = NotingCore(self.notes)
        self.journal = NotingJournal(self.notes)
        self.driver = RaftDriver(
            core=cast(Core, self.core),
            journal=cast(Journal, self.journal),
            machine=self,
            clock=options.pop("clock", trio.current_time),
            on_round=lambda outbox: self.notes.append("round"),
            on_fetch=lambda wanted: self.notes.append(("fetch", wanted)),
            **options,
        )
        self.driver.transport = cast(RaftTransport, self)

    def commit_batch(self) -> None:
        self.notes.append("visible")

    def send(self, server_id: str, message: list[Any]) -> None:
        self.notes.append(("send", message[0]))

    def inbox_drained(self) -> None:
        self.notes.append("drained")

    async def until(self, condition: Callable[[], object]) -> None:
        with trio.fail_after(WAIT_S):
            while not condition():
                await trio.sleep(0.002)

    async def rounds(self, count: int = 1) -> None:
        await self.until(lambda: self.notes.count("round") >= count)


@asynccontextmanager
async def running(**options: Any) -> AsyncIterator[Parts]:
    parts = Parts(**options)
    async with trio.open_nursery() as nursery:
        await nursery.start(parts.driver.run)
        yield parts
        nursery.cancel_scope.cancel()


def failures(group: BaseExceptionGroup[BaseException]) -> list[BaseException]:
    found: list[BaseException] = []
    for error in group.exceptions:
        found += failures(error) if isinstance(error, BaseExceptionGroup) else [error]
    return found


# --- the order


async def test_a_round_has_one_order() -> None:
    async with running() as parts:
        earlier = parts.driver.propose(b"earlier", 10.0)
        await parts.rounds()
        parts.notes.clear()
        settled_in_sync: list[bool] = []
        parts.journal.dirty = True
        parts.journal.during = lambda: settled_in_sync.append(earlier.settled)
        parts.core.next_outbox = Outbox(
            entries=[("b", ["entries"])],
            promises=[("b", ["promise"])],
            results=[(earlier, Outcome(False, "result"))],
            fetch=FETCH,
        )
        parts.driver.message("b", 1, ["ack"], 10)
        parts.driver.propose(b"x", 10.0)
        await parts.rounds()
        assert parts.notes == [
            ("receive", ["ack"]),
            "drained",
            ("propose", b"x"),
            "tick",
            "visible",
            ("send", "entries"),
            "sync begins",
            "sync ends",
            ("send", "promise"),
            ("fetch", FETCH),
            "round",
        ]
        assert settled_in_sync == [True]
        assert await earlier.wait() == "result"


async def test_results_are_visible_before_anybody_hears_of_them() -> None:
    async with running() as parts:
        proposal = parts.driver.propose(b"x", 10.0)
        await parts.rounds()
        visible: list[bool] = []
        parts.driver._machine.commit_batch = lambda: visible.append(proposal.settled)  # type: ignore[method-assign]
        parts.core.next_outbox = Outbox(entries=[], promises=[], results=[(proposal, Outcome(False, 1))])
        parts.driver.kick()
        await proposal.wait()
        assert visible == [False]


async def test_nothing_that_arrives_during_a_sync_is_handled_before_it_has_ended() -> None:
    async with running() as parts:
        gate = parts.journal.gate = threading.Event()
        parts.journal.dirty = True
        parts.driver.kick()
        await parts.until(lambda: "sync begins" in parts.notes)
        parts.driver.message("b", 1, ["ack"], 10)
        parts.driver.propose(b"x", 10.0)
        await trio.testing.wait_all_tasks_blocked(0.05)
        assert parts.notes[-1] == "sync begins"
        gate.set()
        await parts.rounds(2)
        after = parts.notes[parts.notes.index("sync ends") :]
        assert after.index("round") < after.index(("receive", ["ack"])) < after.index(("propose", b"x"))


async def test_a_clean_journal_is_not_synced_and_promises_leave_at_once() -> None:
    async with running() as parts:
        parts.core.next_outbox = Outbox(entries=[], promises=[("b", ["promise"])], results=[])
        parts.driver.kick()
        await parts.rounds()
        assert "sync begins" not in parts.notes
        assert ("send", "promise") in parts.notes
        assert parts.driver.syncs_total == 0


async def test_links_and_windows_reach_the_core_in_order() -> None:
    async with running() as parts:
        parts.driver.connected("b", 1)
        parts.driver.window("b", False)
        parts.driver.disconnected("b", 1)
        parts.driver.connected("b", 2)
        await parts.rounds()
        assert parts.notes[:4] == [
            ("connected", "b", 1), ("window", "b", False), ("disconnected", "b", 1), ("connected", "b", 2)
        ]  # fmt: skip


async def test_a_timer_begins_a_round_and_its_lateness_is_measured() -> None:
    async with running() as parts:
        parts.core.wake_s = trio.current_time() + 0.01
        parts.driver.kick()
        await parts.rounds(2)
        parts.core.wake_s = float("inf")
        assert parts.driver.lags_s


async def test_the_clock_of_consensus_need_not_be_that_of_timers() -> None:
    async with running(clock=elapsed_s) as parts:
        parts.core.wake_s = elapsed_s() + 0.01
        parts.driver.kick()
        await parts.rounds(2)
        parts.core.wake_s = float("inf")
        proposal = parts.driver.propose(b"x", 0.05)
        with pytest.raises(OutcomeUnknown), trio.fail_after(WAIT_S):
            await proposal.wait()
        assert parts.driver.lags_s[0] < WAIT_S


async def test_the_rest_of_a_round_goes_to_a_core_that_replaces_another() -> None:
    async with running() as parts:
        notes: list[Any] = []
        other = NotingCore(notes)
        parts.driver.do(lambda now_s: parts.driver.replace_core(cast(Core, other)))
        parts.driver.connected("b", 3)
        await parts.rounds()
        assert notes == [("connected", "b", 3), "tick"]
        assert "tick" not in parts.notes


# --- what may go wrong


async def test_a_malformed_message_is_refused_and_the_next_is_handled() -> None:
    async with running() as parts:
        parts.core.receive_error = InvalidRequest("nonsense")
        parts.driver.message("b", 1, ["bad"], 10)
        parts.driver.message("b", 1, ["good"], 20)
        assert parts.driver.bytes_waiting == 30
        await parts.rounds()
        assert parts.notes[:2] == [("receive", ["bad"]), ("receive", ["good"])]
        assert parts.driver.bytes_waiting == 0


@pytest.mark.parametrize("error", [InvariantBroken("a hole"), DiskFailed("state"), KeyError("x")], ids=repr)
async def test_any_other_error_of_the_core_ends_the_run(error: Exception) -> None:
    parts = Parts()
    parts.core.receive_error = error
    parts.driver.message("b", 1, ["bad"], 10)
    with pytest.raises(BaseExceptionGroup) as caught:
        await parts.driver.run()
    assert failures(caught.value) == [error]
    assert "tick" not in parts.notes


async def test_a_failed_sync_ends_the_run_sends_no_promise_and_leaves_writes_unknown() -> None:
    error = DiskFailed("no space left")
    parts = Parts()
    parts.journal.error, parts.journal.dirty = error, True
    parts.core.next_outbox = Outbox(entries=[("b", ["entries"])], promises=[("b", ["promise"])], results=[])
    proposal = parts.driver.propose(b"x", 10.0)
    with pytest.raises(BaseExceptionGroup) as caught:
        await parts.driver.run()
    assert failures(caught.value) == [error]
    assert ("send", "entries") in parts.notes
    assert ("send", "promise") not in parts.notes
    with pytest.raises(OutcomeUnknown):
        await proposal.wait()
    with pytest.raises(NoLeader):
        parts.driver.propose(b"y", 10.0)


async def test_a_stop_waits_for_the_sync_under_way_and_leaves_writes_unknown() -> None:
    parts = Parts()
    async with trio.open_nursery() as nursery:
        await nursery.start(parts.driver.run)
        gate = parts.journal.gate = threading.Event()
        parts.journal.dirty = True
        proposal = parts.driver.propose(b"x", 10.0)
        await parts.until(lambda: "sync begins" in parts.notes)
        nursery.cancel_scope.cancel()
        with trio.CancelScope(shield=True):
            await trio.sleep(0.05)
        assert not proposal.settled
        gate.set()
    assert "sync ends" in parts.notes
    with pytest.raises(OutcomeUnknown):
        await proposal.wait()


async def test_proposals_end_by_their_deadlines_though_the_disk_hangs() -> None:
    async with running() as parts:
        gate = parts.journal.gate = threading.Event()
        parts.journal.dirty = True
        taken = parts.driver.propose(b"taken", 0.05)
        await parts.until(lambda: "sync begins" in parts.notes)
        waiting = parts.driver.propose(b"waiting", 0.05)
        for proposal in (taken, waiting):
            with pytest.raises(OutcomeUnknown), trio.fail_after(WAIT_S):
                await proposal.wait()
        gate.set()
        await parts.rounds(2)
        assert ("propose", b"waiting") not in parts.notes  # nobody wants it any more


async def test_a_leader_whose_disk_hangs_for_longer_than_an_election_takes_no_writes() -> None:
    async with running(stalled_after_s=0.05) as parts:
        gate = parts.journal.gate = threading.Event()
        parts.journal.dirty = True
        parts.driver.kick()
        await parts.until(lambda: parts.driver.stalled)
        with pytest.raises(NoLeader) as caught:
            parts.driver.propose(b"x", 10.0)
        assert caught.value.definite
        gate.set()
        await parts.rounds()
        assert not parts.driver.stalled
        parts.driver.propose(b"y", 10.0)


# --- proposals


async def test_a_server_that_does_not_lead_takes_no_write() -> None:
    async with running() as parts:
        parts.core.is_leader = False
        with pytest.raises(NoLeader):
            parts.driver.propose(b"x", 10.0)
        assert parts.driver.proposals.pending_count == 0


async def test_what_the_core_refuses_is_definite() -> None:
    async with running() as parts:
        parts.core.propose_error = RateLimited("too many")
        proposal = parts.driver.propose(b"x", 10.0)
        with pytest.raises(RateLimited):
            await proposal.wait()
        assert parts.driver.proposals.pending_count == 0


async def test_what_was_discarded_is_definite_and_may_be_repeated() -> None:
    async with running() as parts:
        proposal = parts.driver.propose(b"x", 10.0)
        await parts.rounds()
        parts.core.next_outbox = Outbox(entries=[], promises=[], results=[(proposal, Outcome(True, None))])
        parts.driver.kick()
        with pytest.raises(NoLeader):
            await proposal.wait()


async def test_one_round_takes_up_a_bounded_number_of_bytes_and_the_next_the_rest(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "ROUND_PROPOSAL_BYTES_MAX", 100)
    async with running() as parts:
        for _ in range(6):
            parts.driver.propose(bytes(40), 10.0)
        await parts.rounds(2)
        assert parts.notes[: parts.notes.index("tick")].count(("propose", bytes(40))) == 3
        assert len(parts.core.proposed) == 6


async def test_more_than_all_that_may_wait_is_refused_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("server.raft.proposals.PROPOSALS_PENDING_MAX", 2)
    async with running() as parts:
        parts.driver.propose(b"1", 10.0)
        parts.driver.propose(b"2", 10.0)
        with pytest.raises(RateLimited):
            parts.driver.propose(b"3", 10.0)
