"""Disks that are slow, fail, are full, forget what was not synced, or hold other bytes than were written.

The first four are done by the wrapper's disk inside the server (`jepsen.subject`), told through its control page; a
full disk is a quota there and no file system of its own, so that it fills at any write. The last two change files of a
server that was killed. Never more than one server's synced bytes are damaged: a promise is kept by a majority's disks.
"""

import random
from abc import abstractmethod
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import ClassVar

import trio

from jepsen.cluster import POLL_INTERVAL_S, Cluster, Node, ProcessFailed
from jepsen.nemesis import peers, targets
from jepsen.nemesis.package import Fault, Injection, NotInjected
from jepsen.nemesis.processes import KILLED, LogMark, kill_at_once, require_silent, start_all
from jepsen.nemesis.targets import Share
from jepsen.subject import journal_files
from jepsen.subject.journal_files import NothingToDamage
from jepsen.subject.launch import page_of
from jepsen.subject.page import Page

US_PER_S = 1_000_000
END_TIMEOUT_S = 6.0
"""A server whose disk failed ends at once; a write must come first, and the hold has passed already."""


@contextmanager
def control(node: Node) -> Iterator[Page]:
    """The control page of a server; raises NotInjected where nobody obeys it."""
    if not node.subject:
        raise NotInjected(f"{node.name} does not run under the wrapper")
    page = page_of(node)
    try:
        yield page
    finally:
        page.close()


async def heal_disks(cluster: Cluster) -> None:
    """All disks are well again, and the servers that ended for their sake run again."""
    for server in cluster.servers:
        if server.subject:
            with control(server) as page:
                page.heal_disk()
    await start_all(cluster.servers)


class _DiskFault(Fault):
    """Base: healed by the page and by starting whoever is down.

    A server that took its damaged disk for a good one has broken a promise: `heal` says so when all is mended.
    """

    package = "disk"
    subject = True

    def __init__(self) -> None:
        self._victim: Node | None = None
        self._complaint = ""

    @property
    def victim(self) -> Node:
        """Whose disk it is; raises NotInjected where there is none."""
        if self._victim is None:
            raise NotInjected("no disk was chosen")
        return self._victim

    async def heal(self, cluster: Cluster, rng: random.Random) -> None:
        self._victim = None
        await heal_disks(cluster)
        self.complain()

    def complain(self) -> None:
        """Raise ProcessFailed if the server has broken its promise since the last call."""
        complaint, self._complaint = self._complaint, ""
        if complaint:
            raise ProcessFailed(complaint)


async def one_or_leader(cluster: Cluster, rng: random.Random) -> Node:
    """Half the time the leader, else any server that runs; raises NotInjected."""
    if rng.random() < 0.5:
        return await targets.the_leader(cluster)
    return targets.some(cluster, Share.ONE, rng)[0]


async def ends(node: Node) -> bool:
    """Whether the server ends by itself in its time."""
    with trio.move_on_after(END_TIMEOUT_S):
        while node.running:  # noqa: ASYNC110  another process cannot set an event of ours
            await trio.sleep(POLL_INTERVAL_S)
    return not node.running


class DiskSlow(_DiskFault):
    """A server waits with each sync; it must neither hold up the others nor lead for long."""

    name = "disk-slow"
    description = "every sync of one server, often the leader, takes 0.1 to 2 s longer"
    delay_s: ClassVar[tuple[float, float]] = (0.1, 2.0)

    def __init__(self) -> None:
        super().__init__()
        self._delayed_before = 0

    async def inject(self, cluster: Cluster, rng: random.Random) -> Injection:
        self._victim = None
        victim = await one_or_leader(cluster, rng)
        low, high = self.delay_s
        delay_s = low * (high / low) ** rng.random()  # short ones as often as long ones
        with control(victim) as page:
            self._delayed_before = page.syncs_delayed
            page.sync_delay_us = int(delay_s * US_PER_S)
        self._victim = victim
        return Injection(what=f"each sync of {victim.name} takes {delay_s:.2f} s longer", nodes=[victim.name])

    async def evidence(self, cluster: Cluster) -> str:
        with control(self.victim) as page:
            delayed = page.syncs_delayed - self._delayed_before
        if delayed <= 0:
            raise NotInjected(f"{self.victim.name} synced nothing meanwhile")
        return f"{delayed} syncs of {self.victim.name} were delayed"


class _DiskEnds(_DiskFault):
    """Base: the disk of one server refuses something, and the server must end by itself and say why."""

    hold_s = (2.0, 5.0)
    says: ClassVar[tuple[str, ...]]
    """Words that its log must have."""

    def __init__(self) -> None:
        super().__init__()
        self._mark: LogMark | None = None
        self._refused_before = 0

    @abstractmethod
    def break_disk(self, page: Page, rng: random.Random) -> str:
        """Tell the page; return what was told."""

    @abstractmethod
    def refused(self, page: Page) -> int:
        """How often the disk has refused something so far."""

    async def inject(self, cluster: Cluster, rng: random.Random) -> Injection:
        self._victim = None
        victim = await one_or_leader(cluster, rng)
        self._mark = LogMark(victim)
        with control(victim) as page:
            self._refused_before = self.refused(page)
            what = self.break_disk(page, rng)
        self._victim = victim
        return Injection(what=f"{what} of {victim.name}", nodes=[victim.name])

    async def evidence(self, cluster: Cluster) -> str:
        victim, mark = self.victim, self._mark
        await ends(victim)
        with control(victim) as page:
            if self.refused(page) == self._refused_before:
                raise NotInjected(f"{victim.name} had nothing to write")
        said = mark.text() if mark is not None else ""
        line = next((line for line in said.splitlines() if all(words in line for words in self.says)), "")
        if not victim.failed or not line:
            state = "goes on" if victim.running else f"ended with {victim.exit_code} and did not speak of it"
            self._complaint = f"{victim.name} {state} when its disk had refused it\n{victim.log_tail()}"
            raise NotInjected(self._complaint.partition("\n")[0])
        return f"{victim.name} ended by itself with {victim.exit_code}: {_without_folder(line, victim)}"


class DiskFailing(_DiskEnds):
    """A sync fails once: nothing of the file can be trusted from then on."""

    name = "disk-failing"
    description = "one sync of one server fails: it must end by itself; it is started again later"
    says = ("the disk failed, nothing more is promised", "Input/output error")

    def break_disk(self, page: Page, rng: random.Random) -> str:
        page.fail_next_sync = 1
        return "the next sync"

    def refused(self, page: Page) -> int:
        return page.syncs_failed


class DiskFull(_DiskEnds):
    """Space runs out in the middle of a write."""

    name = "disk-full"
    description = "one server's disk takes a few KiB more: it must end by itself; space is made and it starts again"
    says = ("the disk failed, nothing more is promised", "the disk is full")
    room_bytes: ClassVar[tuple[int, int]] = (0, 16 * 1024)

    def break_disk(self, page: Page, rng: random.Random) -> str:
        room_bytes = rng.randint(*self.room_bytes)
        page.quota_bytes = room_bytes
        return f"only {room_bytes} bytes are left on the disk"

    def refused(self, page: Page) -> int:
        return page.writes_refused


class DiskLossyKill(_DiskFault):
    """Base: servers are killed in the middle of a sync, and what was not synced is lost."""

    hold_s = (0.5, 3.0)
    share: ClassVar[Share]
    tries_max: ClassVar[int] = 5
    delay_us: ClassVar[tuple[int, int]] = (2_000, 120_000)
    """A sync that takes longer is open more often when the kill comes. Each server gets a delay of its own."""
    before_kill_s: ClassVar[tuple[float, float]] = (0.3, 1.2)

    def __init__(self) -> None:
        super().__init__()
        self._lost: dict[str, int] = {}
        self._victims: list[Node] = []

    async def inject(self, cluster: Cluster, rng: random.Random) -> Injection:
        self._lost, self._victims = {}, []
        killed: set[str] = set()
        for _ in range(self.tries_max):
            for server in cluster.servers:
                with control(server) as page:
                    page.sync_delay_us = rng.randint(*self.delay_us)
            await trio.sleep(rng.uniform(*self.before_kill_s))
            victims = targets.some(cluster, self.share, rng)
            kill_at_once(victims)
            killed.update(node.name for node in victims)
            self._victims = victims
            self._lost = lost_bytes(victims)
            if self._lost:
                break
            await heal_disks(cluster)
            await trio.sleep(rng.uniform(*self.before_kill_s))
        else:
            raise NotInjected(f"{self.tries_max} kills found nothing unsynced")
        for server in cluster.servers:
            with control(server) as page:
                page.heal_disk()
        what = f"{targets.names(self._victims)} lost power during a sync"
        return Injection(what=what, nodes=sorted(killed))

    async def evidence(self, cluster: Cluster) -> str:
        if not self._lost or any(node.exit_code != KILLED for node in self._victims):
            raise NotInjected("nobody was killed during a sync")
        await require_silent(self._victims)
        return "unsynced bytes lost: " + ", ".join(f"{count} at {name}" for name, count in self._lost.items())


def lost_bytes(killed: Sequence[Node]) -> dict[str, int]:
    """Name -> unsynced bytes that died with the process, of those where there were any."""
    found: dict[str, int] = {}
    for node in killed:
        with control(node) as page:
            if page.unsynced_bytes > 0:
                found[node.name] = page.unsynced_bytes
    return found


class DiskLossyKillOne(DiskLossyKill):
    name = "disk-lossy-kill-one"
    description = "one server loses power during a sync: what it had not synced is gone"
    share = Share.ONE


class DiskLossyKillMajority(DiskLossyKill):
    name = "disk-lossy-kill-majority"
    description = "a majority loses power during a sync"
    share = Share.MAJORITY


class DiskLossyKillAll(DiskLossyKill):
    name = "disk-lossy-kill-all"
    description = "all servers lose power during a sync"
    share = Share.ALL


class DiskLossyKillElection(_DiskFault):
    """The leader is killed, and then all lose power before a vote or a first entry of the next term can be durable.

    A server that comes back must not have a second vote in a term in which it has voted: syncs are so slow here that
    with votes stored before they are told, nobody is elected at all.
    """

    name = "disk-lossy-kill-election"
    description = "the leader is killed, and all servers lose power while they vote for another one"
    hold_s = (0.2, 1.0)
    servers_min = 3
    delay_us: ClassVar[int] = 4 * US_PER_S
    """Longer than all that happens here."""
    election_timeout_s: ClassVar[float] = 2.5
    """Elections begin 0.6 to 1.2 s after the leader was last heard."""
    after_election_s: ClassVar[float] = 0.8
    """So that an observer that asks twice a second sees who leads."""

    def __init__(self) -> None:
        super().__init__()
        self._lost: dict[str, int] = {}

    async def inject(self, cluster: Cluster, rng: random.Random) -> Injection:
        self._lost = {}
        victims = targets.some(cluster, Share.ALL, rng)
        leader = await targets.the_leader(cluster)
        for server in victims:
            with control(server) as page:
                page.sync_delay_us = self.delay_us
        leader.kill()
        successor = await targets.find_leader(cluster, self.election_timeout_s)
        await trio.sleep(self.after_election_s)
        kill_at_once(victims)
        self._lost = lost_bytes(victims)
        for server in victims:
            with control(server) as page:
                page.heal_disk()
        state = "nobody had been elected" if successor is None else f"{successor.name} had just been elected"
        what = f"{leader.name} killed, then all servers lost power; {state}"
        return Injection(what=what, nodes=[node.name for node in victims])

    async def evidence(self, cluster: Cluster) -> str:
        if not self._lost or any(server.exit_code != KILLED for server in cluster.servers):
            raise NotInjected("nothing unsynced was lost")
        return "unsynced bytes lost: " + ", ".join(f"{count} at {name}" for name, count in self._lost.items())


class DiskTornJournal(_DiskFault):
    """A killed server finds the begin of a write behind the end of its journal, and must start by cutting it."""

    name = "disk-torn-journal"
    description = "one server is killed, and its journal ends in a torn write: it must cut that and start"
    subject = False
    hold_s = (1.0, 3.0)
    says: ClassVar[str] = "cut a torn batch"

    def __init__(self) -> None:
        super().__init__()
        self._mark: LogMark | None = None

    async def inject(self, cluster: Cluster, rng: random.Random) -> Injection:
        self._victim = None
        victim = await one_or_leader(cluster, rng)
        victim.kill()
        try:
            what = journal_files.tear_tail(victim.data_dir, rng)
        except NothingToDamage as error:
            raise NotInjected(str(error)) from error
        self._mark = LogMark(victim)
        self._victim = victim
        victim.start()
        return Injection(what=f"{victim.name} killed and started with {what}", nodes=[victim.name])

    async def evidence(self, cluster: Cluster) -> str:
        victim, mark = self.victim, self._mark
        try:
            await victim.wait_answering()
        except ProcessFailed as error:
            raise NotInjected(str(error).partition("\n")[0]) from error
        if mark is None or not mark.count(self.says):
            raise NotInjected(f"{victim.name} started and cut nothing")
        return f"{victim.name} says that it {self.says}, and runs"

    async def heal(self, cluster: Cluster, rng: random.Random) -> None:
        self._victim = None
        await start_all(cluster.servers)


class DiskBitFlip(_DiskFault):
    """A bit of a killed server's journal changes: it must refuse to start, and say where.

    Healed as docs/operating/recovery.md says: the data directory is moved away, and the server joins under a new id.
    """

    name = "disk-bit-flip"
    description = "one bit of a killed server's journal flips: it must refuse to start, and is replaced by an empty one"
    subject = False
    servers_min = 3
    hold_s = (1.0, 3.0)
    recovery_s = 12.0

    def __init__(self) -> None:
        super().__init__()
        self._old_id = ""
        self._place: tuple[Path, int] | None = None
        self._mark: LogMark | None = None

    async def inject(self, cluster: Cluster, rng: random.Random) -> Injection:
        rows = await peers.require_whole(cluster)
        victim = targets.some(cluster, Share.ONE, rng)[0]
        row = peers.at(rows, victim)
        assert row is not None, "the cluster was whole a moment ago"
        victim.kill()
        self._mark = LogMark(victim)
        try:
            self._place = journal_files.flip_bit(victim.data_dir, rng)
        except NothingToDamage as error:
            raise NotInjected(str(error)) from error
        self._victim, self._old_id = victim, row.server_id
        path, offset = self._place
        victim.start()
        return Injection(what=f"a bit at offset {offset} of {path.name} of {victim.name} flipped", nodes=[victim.name])

    async def evidence(self, cluster: Cluster) -> str:
        victim, place, mark = self.victim, self._place, self._mark
        assert place is not None, "set with the victim"
        assert mark is not None, "set with the victim"
        code = await victim.wait_exit() if await ends(victim) else 0
        said = next((line for line in mark.text().splitlines() if str(place[0]) in line and "offset" in line), "")
        if code <= 0 or not said:
            state = f"ended with {code} and did not name the place" if code else "started"
            self._complaint = f"{victim.name} {state} with a damaged journal\n{victim.log_tail()}"
            raise NotInjected(self._complaint.partition("\n")[0])
        return f"{victim.name} refused to start, exit code {code}: {_without_folder(said, victim)}"

    async def heal(self, cluster: Cluster, rng: random.Random) -> None:
        victim = self._victim
        if victim is not None:
            damaged = victim.folder / f"damaged-{self._old_id[:8]}"
            if victim.data_dir.exists() and not damaged.exists():
                victim.kill()
                victim.data_dir.rename(damaged)
            await start_all([victim])
            await peers.wait_voter(cluster, victim, not_id=self._old_id)
            self._victim = None
        await start_all(cluster.servers)
        self.complain()


def _without_folder(text: str, node: Node) -> str:
    return text.removeprefix("==> ").replace(f"{node.data_dir}/", "")
