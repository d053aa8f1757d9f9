"""Sans-IO: how the servers are, who may vote, and whose remains are to be cleared away.

Our consensus has voters only. A server that is not in the configuration *stands by* at the leader: it is shown as no
voter, it gets no log, and it is *fit* while gossip says that it is alive and it answers for itself, proven to be a
server by its certificate where those are asked for, and follows nobody else. Who has been fit for the stabilization
time becomes a voter, one at a time, where that leaves a healthy majority. Its time begins anew whenever it was not fit,
and when it stops being a voter: whoever is removed while it runs is back after that time, much as specified.

A server at the address of a configured one under another id has lost its disk or been replaced: the old id is removed
first, unless it is still there.

Source: servers specification, section 5. Departures: a voter that gossip does not know (yet) is only cleared away after
it has been silent for a while, since a leader that has just started knows nobody; those standing by do not make the
cluster unhealthy.
"""

from collections.abc import Mapping, Sequence

from base.codec import Record
from structs.autopilot import SECOND, AutopilotConfig, ServerHealth, ServerHealthReply
from structs.cluster import MemberStatus, Peer, RaftStatsReply
from structs.members import ServerFacts

UNKNOWN_SILENT_S = 10.0
"""How long a voter that gossip does not know must have been unhealthy before it may be removed. A leader that starts
joins its pool within this."""
HEARTBEATS_PATIENCE = 2.0
"""A follower whose last contact is not older than so many heartbeats is no laggard, whatever the threshold says: at a
large `raft_multiplier` the beats themselves are further apart."""


class Observed(Record, frozen=True, kw_only=True):
    """One server at one moment."""

    peer: Peer
    """Its address in the configuration, or as gossip has it."""
    status: MemberStatus
    """NONE: gossip does not know it."""
    version: str
    voter: bool
    leader: bool
    stats: RaftStatsReply | None
    """Its answer of this round, None if it gave none, or another server gave it."""


class Assessed(Record, frozen=True, kw_only=True):
    """What is made of that; `stable_since_s` is monotonic and begins anew whenever `healthy` or `voter` changes."""

    seen: Observed
    healthy: bool
    stable_since_s: float


class Removal(Record, frozen=True, kw_only=True):
    """What is to be cleared away: failed members by name, and voters that nobody knows."""

    names: list[str]
    peers: list[Peer]


class Promotion(Record, frozen=True, kw_only=True):
    """`peer` is to vote; `displaced` is removed before."""

    peer: Peer
    displaced: Peer | None


def observe(
    configuration: Sequence[Peer],
    servers: Sequence[ServerFacts],
    stats: Mapping[str, RaftStatsReply],
    *,
    leader_id: str,
) -> list[Observed]:
    """Return the voters and those standing by, by id. `stats` are this round's answers by server id."""
    known = {facts.server_id: facts for facts in servers}
    rows = []
    for peer in configuration:
        facts = known.get(peer.server_id)
        rows.append(
            Observed(
                peer=peer,
                status=facts.status if facts is not None else MemberStatus.NONE,
                version=facts.build if facts is not None else "",
                voter=True,
                leader=peer.server_id == leader_id,
                stats=stats.get(peer.server_id),
            )
        )
    voters = {peer.server_id for peer in configuration}
    for facts in servers:
        if facts.server_id not in voters and facts.status is MemberStatus.ALIVE:
            rows.append(
                Observed(
                    peer=facts.peer,
                    status=facts.status,
                    version=facts.build,
                    voter=False,
                    leader=False,
                    stats=stats.get(facts.server_id),
                )
            )
    return sorted(rows, key=lambda row: row.peer.server_id)


def assess(
    rows: Sequence[Observed],
    before: Mapping[str, Assessed],
    config: AutopilotConfig,
    *,
    heartbeat_s: float,
    now_s: float,
) -> list[Assessed]:
    """Return who is healthy, and since when it has been so or not."""
    leader = next((row for row in rows if row.leader and row.stats is not None), None)
    contact_s_max = max(config.last_contact_threshold_ns / SECOND, heartbeat_s * HEARTBEATS_PATIENCE)
    assessed = []
    for row in rows:
        healthy = _voter_healthy(row, leader, config, contact_s_max) if row.voter else _fit(row, leader)
        last = before.get(row.peer.server_id)
        same = last is not None and last.healthy == healthy and last.seen.voter == row.voter
        since_s = last.stable_since_s if last is not None and same else now_s
        assessed.append(Assessed(seen=row, healthy=healthy, stable_since_s=since_s))
    return assessed


def _voter_healthy(row: Observed, leader: Observed | None, config: AutopilotConfig, contact_s_max: float) -> bool:
    stats = row.stats
    if stats is None or leader is None or leader.stats is None or row.status is not MemberStatus.ALIVE:
        return False
    if not row.leader and not 0 <= stats.last_contact_s <= contact_s_max:
        return False
    last_index = leader.stats.last_index
    if stats.last_term != leader.stats.last_term:
        return False
    return last_index <= config.max_trailing_logs or stats.last_index >= last_index - config.max_trailing_logs


def _fit(row: Observed, leader: Observed | None) -> bool:
    stats = row.stats
    if stats is None or leader is None or row.status is not MemberStatus.ALIVE:
        return False
    return not stats.leader and stats.leader_id in ("", leader.peer.server_id)


def failure_tolerance(rows: Sequence[Assessed]) -> int:
    """Return how many healthy voters may be lost without losing the majority."""
    voters = [row for row in rows if row.seen.voter]
    return max(0, sum(row.healthy for row in voters) - (len(voters) // 2 + 1))


def health_reply(rows: Sequence[Assessed], *, now_s: float, now_unix_s: float) -> ServerHealthReply:
    """Return the round as operators get it."""
    return ServerHealthReply(
        healthy=all(row.healthy for row in rows if row.seen.voter),
        failure_tolerance=failure_tolerance(rows),
        servers=[_health(row, now_s, now_unix_s) for row in rows],
    )


def _health(row: Assessed, now_s: float, now_unix_s: float) -> ServerHealth:
    seen, stats = row.seen, row.seen.stats
    contact_ns = -1
    if seen.leader:
        contact_ns = 0
    elif stats is not None and stats.last_contact_s >= 0:
        contact_ns = int(stats.last_contact_s * SECOND)
    return ServerHealth(
        server_id=seen.peer.server_id,
        name=seen.peer.name,
        address=seen.peer.address,
        serf_status=seen.status,
        version=seen.version,
        leader=seen.leader,
        last_contact_ns=contact_ns,
        last_term=stats.last_term if stats is not None else 0,
        last_index=stats.last_index if stats is not None else 0,
        healthy=row.healthy,
        voter=seen.voter,
        stable_since_unix_s=now_unix_s - (now_s - row.stable_since_s),
    )


def displaced_by(peer: Peer, configuration: Sequence[Peer], servers: Sequence[ServerFacts]) -> Peer | None:
    """Return the configured server at `peer`'s address under another id, if it is not there any more."""
    alive = {facts.server_id for facts in servers if facts.status is MemberStatus.ALIVE}
    return next(
        (
            old
            for old in configuration
            if old.address == peer.address and old.server_id != peer.server_id and old.server_id not in alive
        ),
        None,
    )


def plan_promotion(
    rows: Sequence[Assessed],
    configuration: Sequence[Peer],
    servers: Sequence[ServerFacts],
    config: AutopilotConfig,
    *,
    now_s: float,
) -> Promotion | None:
    """Return whom to let vote now, None if nobody: one at a time, who has stood by longest."""
    stable_s = config.server_stabilization_time_ns / SECOND
    voters_healthy = {row.seen.peer.server_id for row in rows if row.seen.voter and row.healthy}
    ripe = [row for row in rows if not row.seen.voter and row.healthy and now_s - row.stable_since_s >= stable_s]
    for row in sorted(ripe, key=lambda row: (row.stable_since_s, row.seen.peer.server_id)):
        peer = row.seen.peer
        displaced = displaced_by(peer, configuration, servers)
        if displaced is None and any(each.address == peer.address for each in configuration):
            continue  # two are alive at one address as gossip has it: it will know better soon
        remaining_count = len(configuration) - (displaced is not None)
        healthy_count = len(voters_healthy - {displaced.server_id if displaced is not None else ""})
        # A majority must be there while the old one is out already, and once the newcomer counts.
        if _is_majority(healthy_count, remaining_count) and _is_majority(healthy_count + 1, remaining_count + 1):
            return Promotion(peer=peer, displaced=displaced)
    return None


def _is_majority(count: int, of_count: int) -> bool:
    return count > of_count // 2


def plan_removal(
    rows: Sequence[Assessed], servers: Sequence[ServerFacts], config: AutopilotConfig, *, now_s: float
) -> Removal | None:
    """Return what to clear away now, None if nothing, or if it is too much to be sure that it is not us who is cut off.

    Fewer than half of the voters (rounded down) may go at a time: of three, none; of five, one. Who has answered the
    leader a moment ago stays, whatever gossip says: after a partition gossip may need half a minute to know better.
    """
    if not config.cleanup_dead_servers:
        return None
    voters = [row for row in rows if row.seen.voter]
    answering = {row.seen.peer.server_id for row in rows if row.seen.stats is not None}
    failed = [facts for facts in servers if facts.status is MemberStatus.FAILED]
    unknown = [row for row in voters if row.seen.status is MemberStatus.NONE and not row.seen.leader]
    if not failed and not unknown:
        return None
    if len(failed) + len(unknown) >= len(voters) // 2:
        return None
    names = [facts.name for facts in failed if facts.server_id not in answering]
    silent = [row.seen.peer for row in unknown if row.seen.stats is None and _silent(row, now_s)]
    return Removal(names=names, peers=silent) if names or silent else None


def _silent(row: Assessed, now_s: float) -> bool:
    return not row.healthy and now_s - row.stable_since_s >= UNKNOWN_SILENT_S


def bootstrap_conflict(facts: ServerFacts, servers: Sequence[ServerFacts]) -> str | None:
    """Return the name of another server that was told to form a cluster by itself as well, if `facts` was; or None."""
    if not facts.bootstrap:
        return None
    return next((other.name for other in servers if other.bootstrap and other.server_id != facts.server_id), None)
