"""State files and archives with a catalog stay readable for ever, those of versions with fewer tables too.

`snapshot_v1/state.mdb.gz` was written by `test_commands_golden.write_golden` when there were three tables;
`archive_v1/catalog.tgz` by `write_catalog` below, `queries.tgz` by `write_queries`, `sessions.tgz` by
`write_sessions`. A change of what is written gets a new file beside them.
"""

import gzip
import io
from collections.abc import Callable
from pathlib import Path

import pytest
from msgspec.structs import replace

from base.codec import decode, encode
from base.errors import DataDamaged
from fsm import archive, snapshot
from fsm.commands.restore import Progress
from fsm.store.state import STATE_KEY, State
from fsm.store.store import RESTORE_KEY, Store
from fsm.store.tables import TABLES
from structs.archive import ArchiveMeta
from structs.autopilot import AutopilotConfig
from structs.catalog import (
    CONNECT_PROXY,
    SERF_CHECK_ID,
    CheckDefinition,
    ConnectProxy,
    HealthCheck,
    Node,
    NodeService,
    ServiceConnect,
)
from structs.cluster import Peer
from structs.coordinate import Coordinate, NodeCoordinate
from structs.prepared_query import (
    PreparedQuery,
    PreparedQueryApplyReply,
    PreparedQueryOp,
    QueryFailover,
    QueryTemplate,
    ServiceQuery,
)
from structs.session import ServiceCheck, Session, SessionBehavior
from tests.fakes.replica import Replica
from tests.fakes.restores import begin, chunk, commit_of, kv_chunk
from tests.wire.test_commands_golden import write_golden

FOLDER = Path(__file__).parent
CATALOG = "catalog_2.tgz"
"""As it is written today. `catalog.tgz`: before services had weights, tagged addresses and a proxy."""
QUERIES = "queries.tgz"
SESSIONS = "sessions.tgz"
OLD_TABLES_COUNT = 3
ID = "40e4a748-2192-161a-0510-9bf59fe950b5"
OTHER_ID = "5bb66d2c-3b8e-4f0b-9a0c-54d9c2a1c3f7"
THIRD_ID = "c7a1f0f4-5b5c-4a3c-8f0e-0d8a5e6f7a80"


def old_copy(folder: Path) -> Path:
    path = folder / "old.mdb"
    path.write_bytes(gzip.decompress((FOLDER / "snapshot_v1" / "state.mdb.gz").read_bytes()))
    return path


def write_catalog(replica: Replica) -> None:
    """What is in `archive_v1/catalog.tgz`: every field of every kind of row."""
    replica.set("before", b"the catalog")
    replica.register(
        "N1",
        address="10.0.0.1",
        node_id=ID,
        datacenter="dc1",
        tagged_addresses={"lan": "10.0.0.1", "wan": "198.18.0.1"},
        node_meta={"consul-network-segment": ""},
        service=NodeService(
            service_id="web1", service="web", tags=["v1"], address="10.1.0.1", meta={"a": "b"}, port=80,
            enable_tag_override=True,
            connect=ServiceConnect(proxy=ConnectProxy(command=["run"], exec_mode="d", config={"x": [1, 2.5, None]})),
        ),
        checks=[
            HealthCheck(node="N1", check_id=SERF_CHECK_ID, name="Serf Health Status", status="passing", output="alive"),
            HealthCheck(
                node="N1", check_id="service:web1", status="warning", notes="n", service_id="web1",
                definition=CheckDefinition(
                    http="http://x", tls_skip_verify=True, header={"A": ["b"]}, method="PUT", tcp="x:1",
                    interval_ns=1, timeout_ns=2, deregister_after_ns=3,
                ),
            ),
        ],
    )  # fmt: skip
    replica.register("odd\x00\x01name", address="::1", service=NodeService(service_id="\x00", service="native",
        connect=ServiceConnect(native=True)))  # fmt: skip
    replica.register(
        "n" * 600,
        service=NodeService(service_id="p", service="s" * 600, kind=CONNECT_PROXY, proxy_destination="web", port=1),
    )
    replica.locate(
        NodeCoordinate(node="N1", coordinate=Coordinate(vec=[0.5] * 8, error=0.1, adjustment=-0.2, height=0.3)),
        NodeCoordinate(node="N1", segment="alpha", coordinate=Coordinate()),
    )
    replica.autopilot(AutopilotConfig(cleanup_dead_servers=False, redundancy_zone_tag="zone"))


def write_queries(replica: Replica) -> None:
    """What is in `archive_v1/queries.tgz`: a catalog, and prepared queries with and without everything."""
    write_catalog(replica)
    full = PreparedQuery(
        query_id="11111111-2222-3333-4444-555555555555",
        name="Geo-",
        token="t",
        template=QueryTemplate(kind="name_prefix_match", regexp="^geo-(.*)$", remove_empty_tags=True),
        service=ServiceQuery(
            service="${match(1)}",
            failover=QueryFailover(nearest_n=3, datacenters=["dc2"]),
            only_passing=True,
            ignore_check_ids=["c"],
            near="_agent",
            tags=["a", "!b"],
            node_meta={"k": "v"},
            connect=True,
        ),
        dns_ttl="10s",
    )
    plain = PreparedQuery(query_id=ID, name="plain", service=ServiceQuery(service="web"))
    unnamed = PreparedQuery(
        query_id="21111111-2222-3333-4444-555555555555", template=full.template, service=ServiceQuery(service="db")
    )
    for query in (full, plain, unnamed):
        assert replica.query(PreparedQueryOp.CREATE, query) == PreparedQueryApplyReply(query_id=query.query_id)


def write_sessions(replica: Replica) -> None:
    """What is in `archive_v1/sessions.tgz`: every field of sessions, and keys that are held, were held, and lost."""
    checks = [HealthCheck(node="N1", check_id=SERF_CHECK_ID, status="passing"),
              HealthCheck(node="N1", check_id="web", status="warning", service_id="web")]  # fmt: skip
    replica.register("N1", service=NodeService(service_id="web", service="web"), checks=checks)
    replica.session(
        ID, "n1", SERF_CHECK_ID, name="leader", lock_delay_ns=15_000_000_000, ttl="15.0s",
        behavior=SessionBehavior.DELETE, service_checks=[ServiceCheck(check_id="web", namespace="default")],
    )  # fmt: skip
    replica.session(OTHER_ID, "N1")
    replica.lock("lock/a", ID, b"held", flags=7)
    replica.lock("lock/" + "b" * 600, OTHER_ID)
    replica.lock("lock/c", OTHER_ID)
    replica.unlock("lock/c", OTHER_ID, b"was held")
    replica.session(THIRD_ID, "N1", behavior=SessionBehavior.DELETE)
    replica.lock("lock/gone", THIRD_ID)
    replica.end_sessions(THIRD_ID)


def written(replica: Replica) -> io.BytesIO:
    file = io.BytesIO()
    with replica.machine.read() as view:
        meta = ArchiveMeta(
            snapshot_id="1-6",
            index=view.index,
            term=view.term,
            peers=[Peer(server_id="id-1", name="", address="10.0.0.1:8300")],
        )
        archive.write_archive(view, file, meta)
    return file


def meaning(replica: Replica) -> dict[str, list[tuple[bytes, object]]]:
    """Everything stored; records as such, for those of an older version are shorter and mean the same."""
    kinds: dict[str, type] = {"nodes": Node, "services": NodeService, "checks": HealthCheck, "sessions": Session}
    return {
        table: [(key, decode(kinds[table], body) if table in kinds else body) for key, body in rows]
        for table, rows in replica.dump().items()
    }


@pytest.mark.parametrize(
    ("name", "write"),
    [
        ("catalog.tgz", write_catalog),
        (CATALOG, write_catalog),
        (QUERIES, write_queries),
        (SESSIONS, write_sessions),
    ],
)
def test_an_archive_of_each_kind_is_read_and_restored(
    tmp_path: Path, name: str, write: Callable[[Replica], None]
) -> None:
    expected, restored = Replica(tmp_path / "expected"), Replica(tmp_path / "restored")
    write(expected)
    golden = archive.read_archive(io.BytesIO((FOLDER / "archive_v1" / name).read_bytes()))
    for command in golden.commands("r"):
        restored.run(command)
    assert meaning(restored) == meaning(expected)
    assert restored.counters() == expected.counters()
    restored.check()
    expected.check()
    restored.close()
    expected.close()


@pytest.mark.parametrize(
    ("name", "write"), [(CATALOG, write_catalog), (QUERIES, write_queries), (SESSIONS, write_sessions)]
)
def test_archives_are_still_written_byte_for_byte(tmp_path: Path, name: str, write: Callable[[Replica], None]) -> None:
    replica = Replica(tmp_path)
    write(replica)
    golden = archive.read_archive(io.BytesIO((FOLDER / "archive_v1" / name).read_bytes()))
    now = archive.read_archive(written(replica))
    replica.close()
    assert list(now.chunks()) == list(golden.chunks())
    assert now.meta == golden.meta


def test_a_snapshot_with_fewer_tables_is_opened_read_and_written(tmp_path: Path) -> None:
    path = old_copy(tmp_path)
    expected = Replica(tmp_path / "expected")
    write_golden(expected)
    assert snapshot.inspect_copy(path).digest == expected.machine.digest_now
    replica = Replica(tmp_path, store=snapshot.open_copy(path, tmp_path / "state"))
    assert replica.dump() == expected.dump()
    replica.check()
    for each in (replica, expected):
        write_catalog(each)
    assert replica.dump() == expected.dump()
    assert replica.machine.digest_now == expected.machine.digest_now
    replica.check()
    facts = snapshot.write_copy(replica.machine.store, tmp_path / "new.mdb")
    assert facts.digest == expected.machine.digest_now
    replica.close()
    expected.close()


def test_a_restore_over_a_snapshot_with_fewer_tables_fills_them_all(tmp_path: Path) -> None:
    replica = Replica(tmp_path, store=snapshot.open_copy(old_copy(tmp_path), tmp_path / "state"))
    source = Replica(tmp_path / "source")
    write_catalog(source)
    for command in archive.read_archive(written(source)).commands("r"):
        replica.run(command)
    assert replica.dump() == source.dump()
    replica.check()
    replica.close()
    source.close()


def test_an_archive_from_before_the_catalog_empties_it(tmp_path: Path) -> None:
    replica = Replica(tmp_path)
    write_catalog(replica)
    golden = archive.read_archive(io.BytesIO((FOLDER / "archive_v1" / "state.tgz").read_bytes()))
    for command in golden.commands("r"):
        replica.run(command)
    assert [name for name, rows in replica.dump().items() if rows] == ["kvs", "tombstones", "indexes"]
    replica.check()
    replica.close()


def test_a_restore_begun_with_fewer_tables_is_finished(tmp_path: Path) -> None:
    replica = Replica(tmp_path)
    replica.run(begin())
    replica.run(chunk(0, kv_chunk("a")))
    with replica.machine.store.environment.begin(write=True) as txn:
        meta = replica.machine.store.meta
        row = txn.get(RESTORE_KEY, db=meta)
        assert row is not None
        progress = decode(Progress, row)
        older = replace(
            progress,
            digests=progress.digests[:OLD_TABLES_COUNT],
            table_highest=progress.table_highest[:OLD_TABLES_COUNT],
        )
        txn.put(RESTORE_KEY, encode(older), db=meta)
    replica.run(chunk(1, kv_chunk("b")))
    replica.run(commit_of([kv_chunk("a"), kv_chunk("b")]))
    assert replica.keys("")[0] == ["a", "b"]
    replica.check()
    replica.close()


def test_a_state_with_tables_of_a_newer_version_is_refused(tmp_path: Path) -> None:
    replica = Replica(tmp_path / "state")
    copy = tmp_path / "copy.mdb"
    with replica.machine.store.environment.begin(write=True) as txn:
        newer = State(digests=(bytes(16),) * (len(TABLES) + 1))
        txn.put(STATE_KEY, encode(newer), db=replica.machine.store.meta)
    replica.machine.store.environment.copy(str(copy), compact=True)
    replica.close()
    for opened in (lambda: snapshot.inspect_copy(copy), lambda: Store.open(tmp_path / "state")):
        with pytest.raises(DataDamaged, match="written by a newer version"):
            opened()
