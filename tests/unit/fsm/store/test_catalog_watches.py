"""Who watches a service name, and who watches positions, hears of what concerns them and of nothing else."""

from collections.abc import Iterator
from contextlib import contextmanager

from fsm.store import coordinate, services
from fsm.watch import WatchSet
from structs.catalog import CONNECT_PROXY, SERF_CHECK_ID, HealthCheck, NodeService
from structs.coordinate import Coordinate, NodeCoordinate
from tests.fakes.replica import Replica

WEB = NodeService(service_id="web1", service="web", tags=["v1"], port=80)


def check(node: str, check_id: str, status: str = "passing", *, service_id: str = "") -> HealthCheck:
    return HealthCheck(node=node, check_id=check_id, status=status, service_id=service_id)


def place(node: str, x: float = 1.0, *, segment: str = "") -> NodeCoordinate:
    return NodeCoordinate(node=node, segment=segment, coordinate=Coordinate(vec=[x] + [0.0] * 7))


@contextmanager
def moves_coordinates(replica: Replica) -> Iterator[None]:
    """What happens inside moves the counter of the coordinates and no other."""
    before = replica.counters()
    yield
    assert replica.counters() == before | {"coordinates": replica.machine.index_applied}
    replica.check()


def two_nodes(replica: Replica) -> None:
    replica.register("a", service=WEB, checks=[check("a", SERF_CHECK_ID)])
    replica.register("a", service=NodeService(service_id="db1", service="db"))
    replica.register("b", service=WEB, checks=[check("b", SERF_CHECK_ID)])


class Bell:
    def __init__(self) -> None:
        self.rung = 0

    def fire(self) -> None:
        self.rung += 1


def test_who_watches_a_name_hears_of_everything_about_it_and_of_nothing_else(replica: Replica) -> None:
    two_nodes(replica)
    replica.register("c", service=NodeService(service_id="other", service="other"))
    watch_set, bell = WatchSet(), Bell()
    services.watch_name(watch_set, "WEB")
    replica.machine.watches.register(watch_set, bell)
    proxy = NodeService(service_id="p", service="proxy", kind=CONNECT_PROXY, proxy_destination="web", port=1)

    def rings(expected: bool, *outcome: object) -> None:
        assert bool(bell.rung) == expected, outcome
        bell.rung = 0

    rings(False, replica.register("c", address="10.0.0.3"))
    rings(False, replica.register("c", checks=[check("c", "x")]))
    rings(False, replica.register("a", service=NodeService(service_id="db1", service="db", port=9)))
    rings(False, replica.locate(place("a")))
    rings(True, replica.register("b", address="10.0.0.4"))
    rings(True, replica.register("b", checks=[check("b", SERF_CHECK_ID, "critical")]))
    rings(True, replica.register("c", service=proxy))
    rings(True, replica.register("c", checks=[check("c", "proxy", service_id="p")]))
    rings(True, replica.deregister("c", service_id="p"))
    rings(True, replica.deregister("a"))
    rings(True, replica.deregister("b"))
    rings(True, replica.register("c", service=proxy), "no instance of the name itself")
    rings(True, replica.register("c", service=WEB))


def test_positions_of_known_nodes_are_stored_and_others_skipped(replica: Replica) -> None:
    two_nodes(replica)
    bad = Coordinate(vec=[float("nan")] * 8)
    with moves_coordinates(replica):
        replica.locate(
            place("A", 1.0),
            place("nobody"),
            place(""),
            NodeCoordinate(node="b", coordinate=bad),
            NodeCoordinate(node="b", coordinate=Coordinate(vec=[0.0])),
            NodeCoordinate(node="b", coordinate=None),
            place("a", 2.0),
            place("a", 3.0, segment="s"),
        )
    with replica.machine.read() as view:
        assert coordinate.every(view) == [place("a", 2.0), place("a", 3.0, segment="s")]
        assert coordinate.segments_of_node(view, "a") == {
            "": place("a", 2.0).coordinate,
            "s": place("a", 3.0).coordinate,
        }


def test_a_batch_moves_the_coordinates_even_if_all_of_it_is_skipped_but_wakes_nobody(replica: Replica) -> None:
    two_nodes(replica)
    replica.locate(place("a"))
    bell = Bell()
    replica.machine.watches.register(WatchSet().table("coordinates"), bell)
    with moves_coordinates(replica):
        replica.locate(place("nobody"))
    with moves_coordinates(replica):
        replica.locate(place("a"))
    assert bell.rung == 0
    replica.deregister("a")
    assert bell.rung == 1
