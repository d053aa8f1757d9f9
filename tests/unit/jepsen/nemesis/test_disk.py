"""What of the disk faults needs no process: whom they may tell, and what they make of it."""

import random
from pathlib import Path

import pytest

from jepsen.cluster import Cluster, Node, ProcessFailed
from jepsen.nemesis.clock import ClockJump, ClockRate
from jepsen.nemesis.disk import DiskFailing, DiskFull, control, lost_bytes
from jepsen.nemesis.package import NotInjected
from jepsen.subject.launch import page_of


@pytest.fixture
def cluster(tmp_path: Path) -> Cluster:
    made = Cluster(tmp_path, servers=3, agents=0, subject=True)
    for server in made.servers:
        server.folder.mkdir()
    return made


def test_nobody_is_told_who_would_not_obey(tmp_path: Path) -> None:
    node = Node(program="mesh-server", name="server-1", folder=tmp_path)
    with pytest.raises(NotInjected, match="server-1 does not run under the wrapper"), control(node):
        pass
    node.close()


def test_what_a_killed_server_lost_is_read_from_its_page(cluster: Cluster) -> None:
    assert lost_bytes(cluster.servers) == {}
    with control(cluster.servers[1]) as page:
        page.unsynced_bytes = 7
    assert lost_bytes(cluster.servers) == {"server-2": 7}
    cluster.close()


def test_each_of_these_tells_one_thing_and_counts_by_another(cluster: Cluster) -> None:
    with control(cluster.servers[0]) as page:
        assert DiskFailing().break_disk(page, random.Random(1)) == "the next sync"
        assert page.fail_next_sync == 1
        DiskFull().break_disk(page, random.Random(1))
        assert 0 <= page.quota_bytes <= 16 * 1024
        page.syncs_failed, page.writes_refused = 3, 4
        assert (DiskFailing().refused(page), DiskFull().refused(page)) == (3, 4)
    cluster.close()


def test_a_complaint_is_made_once() -> None:
    fault = DiskFailing()
    fault.complain()
    fault._complaint = "server-1 goes on"
    with pytest.raises(ProcessFailed, match="goes on"):
        fault.complain()
    fault.complain()


async def test_clocks_are_healed_on_every_page(cluster: Cluster) -> None:
    for server in cluster.servers:
        with control(server) as page:
            page.wall_offset_ns, page.rate_ppb, page.quota_bytes = 5, 6, 7
    await ClockJump().heal(cluster, random.Random(1))
    for server in cluster.servers:
        page = page_of(server)
        assert (page.wall_offset_ns, page.rate_ppb, page.quota_bytes) == (0, 0, 7)
        page.close()
    cluster.close()


def test_rates_stay_within_the_promise() -> None:
    fastest, slowest = 1 + ClockRate.deviation_max, 1 - ClockRate.deviation_max
    assert slowest / fastest > 0.9
