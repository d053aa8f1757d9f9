"""The first configuration: agreed exactly once, whatever arrives in which order, and across restarts."""

import random
from dataclasses import dataclass, field

import pytest

from server.bootstrap import Begin, Bootstrap, Complaint, Pin, Seen, Unpin, id_of, line_of, peer_of
from structs.cluster import Peer


def peer(number: int) -> Peer:
    return Peer(server_id=f"id-{number:02}", name=f"s {number}", address=f"10.0.0.{number}:8300")


@dataclass
class Server:
    """One server's decision, its disk, and what it would answer to a hello."""

    number: int
    expect: int
    pin: list[str] | None = None
    configuration: list[str] = field(default_factory=list)
    decision: Bootstrap = field(init=False)
    complaints: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.restart()

    def restart(self) -> None:
        self.decision = Bootstrap(
            peer=peer(self.number), expect=self.expect, bootstrapped=bool(self.configuration), pin=self.pin
        )

    def says(self) -> Seen:
        return Seen(
            peer=peer(self.number),
            expect=self.expect,
            bootstrapped=self.decision.bootstrapped,
            view=self.decision.view,
            pinned=self.decision.pinned,
            configuration=[id_of(line) for line in self.configuration],
        )

    def act(self) -> bool:
        """Carry out one instruction; returns whether there was one."""
        match self.decision.decide():
            case Pin(view=view):
                self.pin = view
                self.decision.pin_written(view)
            case Unpin():
                self.pin = None
                self.decision.pin_removed()
            case Begin(view=view):
                self.configuration = view
                self.decision.begun()
            case Complaint(text=text):
                self.complaints.append(text)
                return False
            case None:
                return False
        return True


def exchange(servers: list[Server], rounds: int = 6) -> None:
    """Everybody hears everybody, and acts, several times."""
    for _ in range(rounds):
        for one in servers:
            for other in servers:
                one.decision.saw(other.says())
            while one.act():
                pass


def test_a_line_of_a_view_names_one_server_even_where_its_name_has_spaces() -> None:
    assert peer_of(line_of(peer(3))) == peer(3)
    assert id_of(line_of(peer(3))) == "id-03"


def test_one_expected_server_begins_alone() -> None:
    server = Server(1, 1)
    while server.act():
        pass
    assert server.configuration == [line_of(peer(1))]


def test_three_servers_begin_with_each_other() -> None:
    servers = [Server(number, 3) for number in (1, 2, 3)]
    exchange(servers)
    assert [server.configuration for server in servers] == [[line_of(peer(n)) for n in (1, 2, 3)]] * 3


def test_two_of_three_wait() -> None:
    servers = [Server(1, 3), Server(2, 3)]
    exchange(servers)
    assert not any(server.configuration or server.pin for server in servers)


def test_of_more_than_expected_those_with_the_lowest_ids_begin_and_the_others_join() -> None:
    servers = [Server(number, 3) for number in (1, 2, 3, 4, 5)]
    exchange(servers)
    assert [bool(server.configuration) for server in servers] == [True, True, True, False, False]
    assert all(server.decision.joins for server in servers[3:])


def test_different_expectations_are_complained_about_and_nobody_begins() -> None:
    servers = [Server(1, 3), Server(2, 3), Server(3, 5)]
    exchange(servers)
    assert not any(server.configuration or server.pin for server in servers)
    assert "bootstrap-expect differs: 3 here, 5 at s 3 (10.0.0.3:8300)" in servers[0].complaints[0]


def test_a_server_that_expects_nobody_only_joins() -> None:
    servers = [Server(1, 1), Server(2, 0)]
    exchange(servers)
    assert servers[0].configuration
    assert not servers[1].configuration
    assert servers[1].decision.joins


def test_who_sees_a_cluster_before_it_has_promised_anything_joins_it() -> None:
    old = Server(9, 3, configuration=[line_of(peer(9))])
    fresh = [Server(number, 3) for number in (1, 2, 3)]
    exchange([old, *fresh])
    assert not any(server.configuration or server.pin for server in fresh)


def test_a_promise_survives_a_restart_and_is_kept() -> None:
    servers = [Server(number, 3) for number in (1, 2, 3)]
    for server in servers:
        for other in servers:
            server.decision.saw(other.says())
    for server in servers:
        for other in servers:
            server.decision.saw(other.says())
        server.act()
    assert all(server.pin for server in servers)
    for server in servers:
        server.restart()
    exchange([*servers, Server(0, 3)])
    assert all(server.configuration == servers[0].pin for server in servers)


def test_who_missed_the_beginning_begins_with_the_same_set_once_a_member_has_begun() -> None:
    view = [line_of(peer(n)) for n in (1, 2, 3)]
    late = Server(3, 3, pin=view)
    late.decision.saw(Server(1, 3, pin=view, configuration=view).says())
    assert late.decision.decide() == Begin(view=view)


def test_a_promise_is_dropped_only_where_a_member_of_it_is_in_a_cluster_without_us() -> None:
    view = [line_of(peer(n)) for n in (1, 2, 3)]
    late = Server(3, 3, pin=view)
    late.decision.saw(Server(9, 3, configuration=[line_of(peer(n)) for n in (7, 8, 9)]).says())
    assert late.decision.decide() is None
    late.decision.saw(Server(1, 3, pin=view, configuration=[line_of(peer(n)) for n in (1, 2, 4)]).says())
    assert late.decision.decide() == Unpin()


def test_a_server_that_fell_silent_is_no_candidate() -> None:
    server = Server(1, 2)
    server.decision.saw(Server(2, 2).says())
    assert server.decision.view
    server.decision.lost("id-02")
    assert not server.decision.view


def test_a_latecomer_with_a_lower_id_does_not_keep_a_promise_from_being_completed() -> None:
    servers = [Server(number, 3) for number in (1, 2, 3)]
    for _ in range(2):
        for server in servers:
            for other in servers:
                server.decision.saw(other.says())
    servers[0].act()
    assert servers[0].pin
    exchange([*servers, Server(0, 3)])
    assert [server.configuration for server in servers] == [servers[0].pin] * 3


STEPS = ["hear"] * 8 + ["old"] * 3 + ["act"] * 6 + ["restart", "lose"]


@pytest.mark.parametrize(("expect", "count"), [(3, 3), (3, 4), (3, 5), (5, 5), (5, 7)])
def test_whatever_is_heard_when_and_whoever_restarts_there_is_never_a_second_configuration(
    expect: int, count: int
) -> None:
    for seed in range(150):
        rng = random.Random(seed)
        servers = [Server(number, expect) for number in range(1, count + 1)]
        said: dict[tuple[int, int], list[Seen]] = {}
        for _ in range(rng.randrange(200)):
            one, other = rng.randrange(count), rng.randrange(count)
            server = servers[one]
            match rng.choice(STEPS):
                case "hear":
                    news = servers[other].says()
                    said.setdefault((one, other), []).append(news)
                    server.decision.saw(news)
                case "old" if (one, other) in said:  # a hello that took its time
                    server.decision.saw(rng.choice(said[one, other][-5:]))
                case "act":
                    server.act()
                case "restart":
                    server.restart()
                case "lose":
                    server.decision.lost(peer(servers[other].number).server_id)
            assert len({tuple(s.configuration) for s in servers if s.configuration}) <= 1, seed
        pins = {tuple(s.pin) for s in servers if s.pin}
        exchange(servers, rounds=8)
        configurations = {tuple(s.configuration) for s in servers if s.configuration}
        assert len(configurations) <= 1, seed
        # Old news can make two servers promise different things; then nobody begins, and the log says why.
        assert configurations or len(pins) > 1, f"seed {seed}: once everybody hears everybody there is a cluster"
