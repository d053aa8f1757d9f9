"""Who is healthy, who may vote, and who is cleared away."""

import random

import pytest
from msgspec.structs import replace

from server.leader.autopilot import (
    UNKNOWN_SILENT_S,
    Assessed,
    assess,
    bootstrap_conflict,
    displaced_by,
    failure_tolerance,
    health_reply,
    observe,
    plan_promotion,
    plan_removal,
)
from structs.autopilot import AutopilotConfig
from structs.cluster import Member, MemberStatus, Peer, RaftStatsReply
from structs.members import ServerFacts, server_facts
from tests.fakes.members import server

CONFIG = AutopilotConfig()
HEARTBEAT_S = 0.1
LEADER_ID = "id-1"


def facts(member: Member) -> ServerFacts:
    found = server_facts(member)
    assert found is not None
    return found


def stats(
    number: int, *, index: int = 100, term: int = 2, contact_s: float = 0.05, leader: str = LEADER_ID
) -> RaftStatsReply:
    leads = number == 1
    return RaftStatsReply(
        last_contact_s=0.0 if leads else contact_s,
        term=term,
        last_index=index,
        commit_index=index,
        applied_index=index,
        leader=leads,
        last_term=term,
        server_id=f"id-{number}",
        leader_id=leader,
    )


class Cluster:
    """Servers 1 to N vote; 1 leads; everybody is fine until a test says otherwise."""

    def __init__(self, voters: int, *, standing_by: int = 0) -> None:
        self.members = {number: server(f"s{number}") for number in range(1, voters + standing_by + 1)}
        self.configuration = [facts(self.members[number]).peer for number in range(1, voters + 1)]
        self.stats = {f"id-{number}": stats(number) for number in self.members}
        self.rows: list[Assessed] = []

    def show(self, number: int, **changes: str) -> None:
        self.members[number] = server(f"s{number}", **changes)

    @property
    def servers(self) -> list[ServerFacts]:
        return [facts(member) for member in self.members.values()]

    def kill(self, number: int) -> None:
        self.show(number, status="FAILED")
        self.stats.pop(f"id-{number}", None)

    def round(self, now_s: float, config: AutopilotConfig = CONFIG) -> list[Assessed]:
        seen = observe(self.configuration, self.servers, self.stats, leader_id=LEADER_ID)
        before = {row.seen.peer.server_id: row for row in self.rows}
        self.rows = assess(seen, before, config, heartbeat_s=HEARTBEAT_S, now_s=now_s)
        return self.rows

    def promotion(self, now_s: float) -> Peer | None:
        planned = plan_promotion(self.rows, self.configuration, self.servers, CONFIG, now_s=now_s)
        return planned.peer if planned is not None else None

    def healthy(self) -> list[str]:
        return [row.seen.peer.server_id for row in self.rows if row.healthy]


def test_everybody_is_fine() -> None:
    cluster = Cluster(3)
    cluster.round(0.0)
    assert cluster.healthy() == ["id-1", "id-2", "id-3"]
    assert failure_tolerance(cluster.rows) == 1


@pytest.mark.parametrize(
    "answer",
    [
        None,
        stats(2, contact_s=0.3),
        stats(2, contact_s=-1.0),
        stats(2, term=1),
        stats(2, index=100),
    ],
)
def test_who_does_not_answer_or_hear_or_keep_up_is_not_healthy(answer: RaftStatsReply | None) -> None:
    cluster = Cluster(3)
    cluster.stats["id-1"] = stats(1, index=351)
    cluster.stats["id-3"] = stats(3, index=101)
    if answer is None:
        del cluster.stats["id-2"]
    else:
        cluster.stats["id-2"] = answer
    cluster.round(0.0)
    assert cluster.healthy() == ["id-1", "id-3"]


def test_logs_that_short_may_differ() -> None:
    cluster = Cluster(3)
    cluster.stats = {"id-1": stats(1, index=250), "id-2": stats(2, index=1), "id-3": stats(3, index=1)}
    cluster.round(0.0)
    assert len(cluster.healthy()) == 3


@pytest.mark.parametrize("status", ["FAILED", "LEAVING", "LEFT"])
def test_who_is_not_alive_is_not_healthy_whatever_it_answers(status: str) -> None:
    cluster = Cluster(3)
    cluster.show(2, status=status)
    cluster.round(0.0)
    assert cluster.healthy() == ["id-1", "id-3"]


def test_slow_heartbeats_make_nobody_a_laggard() -> None:
    cluster = Cluster(3)
    cluster.stats["id-2"] = stats(2, contact_s=0.9)
    seen = observe(cluster.configuration, cluster.servers, cluster.stats, leader_id=LEADER_ID)
    assert all(row.healthy for row in assess(seen, {}, CONFIG, heartbeat_s=0.5, now_s=0.0))


def test_stable_since_begins_anew_whenever_health_flips() -> None:
    cluster = Cluster(3)
    cluster.round(0.0)
    cluster.round(5.0)
    assert cluster.rows[1].stable_since_s == 0.0
    cluster.stats["id-2"] = stats(2, contact_s=9.0)
    cluster.round(7.0)
    assert cluster.rows[1].stable_since_s == 7.0
    cluster.stats["id-2"] = stats(2)
    cluster.round(9.0)
    assert cluster.rows[1].stable_since_s == 9.0


@pytest.mark.parametrize(
    ("voters", "dead", "tolerance"),
    [(1, 0, 0), (2, 0, 0), (3, 0, 1), (3, 1, 0), (4, 0, 1), (5, 0, 2), (5, 1, 1), (5, 3, 0)],
)
def test_failure_tolerance_is_what_may_be_lost_of_the_healthy(voters: int, dead: int, tolerance: int) -> None:
    cluster = Cluster(voters)
    for number in range(voters - dead + 1, voters + 1):
        cluster.kill(number)
    cluster.round(0.0)
    assert failure_tolerance(cluster.rows) == tolerance


def test_operators_get_it_with_names_versions_and_dates() -> None:
    cluster = Cluster(1, standing_by=1)
    cluster.round(3.0)
    reply = health_reply(cluster.rows, now_s=10.0, now_unix_s=1000.0)
    assert reply.servers is not None
    one, two = reply.servers
    assert (one.name, one.version, one.leader, one.voter, one.last_contact_ns) == ("s1", "1.9.0", True, True, 0)
    assert (two.voter, two.last_contact_ns, two.last_index) == (False, 50_000_000, 100)
    assert two.stable_since_unix_s == 993.0
    assert reply.healthy


def test_a_voter_that_gossip_does_not_know_is_shown_without_a_version() -> None:
    cluster = Cluster(2)
    del cluster.members[2], cluster.stats["id-2"]
    cluster.round(0.0)
    reply = health_reply(cluster.rows, now_s=0.0, now_unix_s=0.0)
    assert reply.servers is not None
    row = reply.servers[1]
    assert (row.serf_status, row.version, row.last_contact_ns, row.healthy) == (MemberStatus.NONE, "", -1, False)
    assert not reply.healthy


def test_who_stands_by_does_not_make_the_cluster_unhealthy() -> None:
    cluster = Cluster(1, standing_by=1)
    del cluster.stats["id-2"]
    cluster.round(0.0)
    assert cluster.healthy() == ["id-1"]
    assert health_reply(cluster.rows, now_s=0.0, now_unix_s=0.0).healthy


# Promotion


def test_who_has_stood_by_for_long_enough_may_vote() -> None:
    cluster = Cluster(3, standing_by=1)
    cluster.round(0.0)
    assert cluster.promotion(9.9) is None
    cluster.round(10.0)
    promoted = cluster.promotion(10.0)
    assert promoted is not None
    assert promoted.server_id == "id-4"


def test_who_was_away_for_a_moment_begins_to_stand_by_anew() -> None:
    cluster = Cluster(1, standing_by=1)
    cluster.round(0.0)
    answer = cluster.stats.pop("id-2")
    cluster.round(8.0)
    cluster.stats["id-2"] = answer
    cluster.round(9.0)
    cluster.round(18.0)
    assert cluster.promotion(18.0) is None
    assert cluster.promotion(19.0) is not None


def test_who_has_not_proved_to_be_a_server_never_votes() -> None:
    cluster = Cluster(3, standing_by=1)
    del cluster.stats["id-4"]
    for now_s in range(0, 100, 2):
        cluster.round(float(now_s))
    assert cluster.promotion(100.0) is None


def test_a_voter_that_is_removed_while_it_runs_stands_by_from_then_on() -> None:
    cluster = Cluster(4)
    cluster.round(0.0)
    cluster.configuration.pop()
    cluster.round(100.0)
    assert cluster.promotion(100.0) is None
    assert cluster.promotion(110.0) is not None


def test_who_follows_another_leader_is_not_taken() -> None:
    cluster = Cluster(3, standing_by=1)
    cluster.stats["id-4"] = stats(4, leader="somebody")
    cluster.round(0.0)
    assert cluster.promotion(1000.0) is None


def test_one_is_promoted_at_a_time_and_the_one_who_stood_by_longest_first() -> None:
    cluster = Cluster(3, standing_by=2)
    answer = cluster.stats.pop("id-4")
    cluster.round(0.0)
    cluster.stats["id-4"] = answer
    cluster.round(2.0)
    promoted = cluster.promotion(20.0)
    assert promoted is not None
    assert promoted.server_id == "id-5"


def test_nobody_is_promoted_where_that_would_take_the_majority_away() -> None:
    cluster = Cluster(3, standing_by=1)
    cluster.round(0.0)
    cluster.kill(2)
    cluster.stats["id-3"] = stats(3, contact_s=5.0)  # it lags, so only the leader can be counted on
    cluster.round(20.0)
    assert cluster.promotion(20.0) is None
    cluster.stats["id-3"] = stats(3)
    cluster.round(22.0)
    assert cluster.promotion(22.0) is not None


def test_a_lost_disk_takes_the_place_of_the_old_id() -> None:
    cluster = Cluster(3)
    cluster.show(3, id="id-new")
    cluster.stats.pop("id-3")
    cluster.stats["id-new"] = replace(stats(3), server_id="id-new")
    cluster.round(0.0)
    planned = plan_promotion(cluster.rows, cluster.configuration, cluster.servers, CONFIG, now_s=10.0)
    assert planned is not None
    assert planned.peer.server_id == "id-new"
    assert planned.displaced is not None
    assert planned.displaced.server_id == "id-3"


def test_nobody_displaces_who_is_still_there() -> None:
    cluster = Cluster(3)
    cluster.members[9] = server("s9", address="10.0.0.3")
    cluster.stats["id-9"] = stats(9)
    cluster.round(0.0)
    assert displaced_by(facts(cluster.members[9]).peer, cluster.configuration, cluster.servers) is None
    assert cluster.promotion(100.0) is None
    cluster.kill(3)
    cluster.round(100.0)
    assert cluster.promotion(100.0) is not None


def test_the_second_of_two_servers_keeps_its_place_unless_the_majority_survives_its_removal() -> None:
    cluster = Cluster(2)
    cluster.show(2, id="id-new")
    cluster.stats["id-new"] = replace(stats(2), server_id="id-new")
    cluster.stats.pop("id-2")
    cluster.round(0.0)
    planned = plan_promotion(cluster.rows, cluster.configuration, cluster.servers, CONFIG, now_s=10.0)
    assert planned is not None  # one of one, then two of two
    assert planned.displaced is not None


# Removal


def dead(cluster: Cluster, *numbers: int, config: AutopilotConfig = CONFIG) -> list[str] | None:
    for number in numbers:
        cluster.kill(number)
    cluster.round(0.0)
    cluster.round(UNKNOWN_SILENT_S)
    removal = plan_removal(cluster.rows, cluster.servers, config, now_s=UNKNOWN_SILENT_S)
    return None if removal is None else [*removal.names, *(peer.server_id for peer in removal.peers)]


@pytest.mark.parametrize(
    ("voters", "numbers", "removed"),
    [
        (3, [3], None),
        (4, [4], ["s4"]),
        (5, [5], ["s5"]),
        (5, [4, 5], None),
        (6, [5, 6], ["s5", "s6"]),
        (7, [6, 7], ["s6", "s7"]),
        (7, [5, 6, 7], None),
        (5, [], None),
    ],
)
def test_fewer_than_half_of_the_voters_are_cleared_away(
    voters: int, numbers: list[int], removed: list[str] | None
) -> None:
    assert dead(Cluster(voters), *numbers) == removed


def test_a_voter_that_answers_stays_whatever_gossip_says() -> None:
    cluster = Cluster(5)
    answer = cluster.stats["id-5"]
    cluster.kill(5)
    cluster.stats["id-5"] = answer
    assert dead(cluster) is None
    del cluster.stats["id-5"]
    assert dead(cluster) == ["s5"]


def test_nothing_is_cleared_away_where_that_is_switched_off() -> None:
    assert dead(Cluster(5), 5, config=AutopilotConfig(cleanup_dead_servers=False)) is None


def test_a_failed_server_that_never_voted_counts_and_goes() -> None:
    assert dead(Cluster(4, standing_by=1), 5) == ["s5"]


def test_a_silent_voter_that_gossip_does_not_know_goes() -> None:
    cluster = Cluster(5)
    del cluster.members[5], cluster.stats["id-5"]
    assert dead(cluster) == ["id-5"]


def test_but_not_at_once_and_not_if_it_answers() -> None:
    cluster = Cluster(5)
    del cluster.members[5]
    answer = cluster.stats.pop("id-5")
    cluster.round(0.0)
    assert plan_removal(cluster.rows, cluster.servers, CONFIG, now_s=UNKNOWN_SILENT_S - 0.1) is None
    cluster.stats["id-5"] = answer
    assert dead(cluster) is None


def test_a_leader_that_knows_nobody_clears_nobody_away() -> None:
    cluster = Cluster(5)
    cluster.members = {1: cluster.members[1]}
    assert dead(cluster) is None


def test_two_servers_in_bootstrap_mode_are_named() -> None:
    one, two, three = (
        facts(server(f"s{n}", **mode)) for n, mode in ((1, {"bootstrap": "1"}), (2, {"bootstrap": "1"}), (3, {}))
    )
    assert bootstrap_conflict(two, [one, two, three]) == "s1"
    assert bootstrap_conflict(three, [one, two, three]) is None
    assert bootstrap_conflict(one, [one, three]) is None


@pytest.mark.parametrize("seed", range(300))
def test_no_plan_ever_costs_the_majority(seed: int) -> None:
    """Whatever the servers look like: with what is planned, more than half of the voters are healthy ones."""
    rng = random.Random(seed)
    cluster = Cluster(rng.randint(1, 7), standing_by=rng.randint(0, 3))
    for number in list(cluster.members):
        if number == 1:
            continue
        match rng.choice(["fine", "fine", "fine", "dead", "lagging", "new disk", "unknown"]):
            case "dead":
                cluster.kill(number)
            case "lagging":
                cluster.stats[f"id-{number}"] = stats(number, contact_s=rng.choice([0.1, 5.0]))
            case "new disk":
                cluster.stats.pop(f"id-{number}")
                cluster.show(number, id=f"id-new-{number}")
                cluster.stats[f"id-new-{number}"] = replace(stats(number), server_id=f"id-new-{number}")
            case "unknown":
                del cluster.members[number]
    cluster.round(0.0)
    healthy = {row.seen.peer.server_id for row in cluster.rows if row.seen.voter and row.healthy}
    planned = plan_promotion(cluster.rows, cluster.configuration, cluster.servers, CONFIG, now_s=100.0)
    if planned is not None:
        voters = {peer.server_id for peer in cluster.configuration}
        if planned.displaced is not None:
            voters.remove(planned.displaced.server_id)
            assert len(healthy & voters) > len(voters) // 2, seed
        voters.add(planned.peer.server_id)
        assert len((healthy | {planned.peer.server_id}) & voters) > len(voters) // 2, seed
        assert len({peer.address for peer in cluster.configuration if peer.server_id in voters}) >= len(voters) - 1, (
            seed
        )
    removal = plan_removal(cluster.rows, cluster.servers, CONFIG, now_s=100.0)
    if removal is not None:
        gone = len(removal.names) + len(removal.peers)
        assert gone < len(cluster.configuration) // 2, seed
