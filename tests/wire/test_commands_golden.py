"""Commands and archives written by released versions stay readable for ever, byte for byte.

A command's bytes stand here as text. A new version of a command gets new fields at the end, with defaults, and a line
of its own here; no line is ever changed or removed. The same holds for the folder of archives.
"""

import io
from pathlib import Path

import pytest

from base.codec import decode
from fsm import archive
from fsm.commands import registry
from structs.archive import ArchiveMeta, RestoreAbort, RestoreBegin, RestoreChunk, RestoreCommit
from structs.autopilot import AutopilotCommand, AutopilotConfig
from structs.catalog import (
    CheckDefinition,
    ConnectProxy,
    DeregisterCommand,
    HealthCheck,
    Node,
    NodeService,
    RegisterCommand,
    ServiceConnect,
)
from structs.cluster import Peer
from structs.coordinate import Coordinate, CoordinateBatch, NodeCoordinate
from structs.kv import KVCommand, KVVerb, TombstoneCommand
from structs.prepared_query import (
    PreparedQuery,
    PreparedQueryCommand,
    PreparedQueryOp,
    QueryFailover,
    QueryTemplate,
    ServiceQuery,
)
from structs.session import ServiceCheck, Session, SessionBehavior, SessionCommand, SessionVerb
from structs.txn import ServiceOnNode, TxnCommand, TxnOp
from tests.fakes.replica import Replica

ARCHIVES = Path(__file__).parent / "archive_v1"

COMMANDS = [
    (
        registry.KVS,
        KVCommand(verb=KVVerb.SET, key="a/b", value=b"\x00v", flags=2**64 - 1),
        "0296a3736574a3612f62c4020076cfffffffffffffffff00a0",
    ),
    (
        registry.KVS,
        KVCommand(verb=KVVerb.CAS, key="é", value=b"", cas_index=70_000, session="s"),
        "0296a3636173a2c3a9c40000ce00011170a173",
    ),
    (registry.KVS, KVCommand(verb=KVVerb.DELETE_TREE, key=""), "0296ab64656c6574652d74726565a0c4000000a0"),
    (registry.TOMBSTONE, TombstoneCommand(index=300), "0591cd012c"),
    (
        registry.SESSION,
        SessionCommand(
            verb=SessionVerb.CREATE,
            session=Session(
                session_id="40e4a748-2192-161a-0510-9bf59fe950b5",
                name="s",
                node="n",
                node_checks=["serfHealth"],
                service_checks=[ServiceCheck(check_id="c")],
                lock_delay_ns=15_000_000_000,
                behavior=SessionBehavior.DELETE,
                ttl="15s",
            ),
        ),
        "0393a66372656174659ad92434306534613734382d323139322d313631612d303531302d396266353966653935306235a173a16e"
        "91aa736572664865616c74689192a163a0cf000000037e11d600a664656c657465a3313573000090",
    ),
    (
        registry.TXN,
        TxnCommand(operations=[TxnOp(verb="set", key="k", value=b"v"), TxnOp(verb="check-index", key="k", index=9)]),
        "08919299a3736574a16bc401760000a0c0c0c099ab636865636b2d696e646578a16bc4000009a0c0c0c0",
    ),
    (registry.REGISTER, RegisterCommand(node="n", address="10.0.0.1"), "0099a0a16ea831302e302e302e31a0c0c0c090c2"),
    (
        registry.REGISTER,
        RegisterCommand(
            node_id="40e4a748-2192-161a-0510-9bf59fe950b5",
            node="n",
            address="a",
            datacenter="dc1",
            tagged_addresses={"lan": "a"},
            node_meta={"k": "v"},
            service=NodeService(
                service_id="s1",
                service="s",
                tags=["t"],
                meta={"m": "1"},
                port=80,
                connect=ServiceConnect(native=True, proxy=ConnectProxy(command=["c"], config={"x": 1})),
            ),
            checks=[
                HealthCheck(
                    node="n",
                    check_id="c",
                    name="C",
                    status="passing",
                    service_id="s1",
                    definition=CheckDefinition(http="http://h", header={"A": ["b"]}, interval_ns=10_000_000_000),
                )
            ],
            skip_node_update=True,
        ),
        "0099d92434306534613734382d323139322d313631612d303531302d396266353966653935306235a16ea161a364633181a36c616e"
        "a16181a16ba1769fa0a27331a17391a174a081a16da13150c2a092c39391a163a081a178010000c0920101c0919da16ea163a143a7"
        "70617373696e67a0a0a27331a0c09fa8687474703a2f2f68c281a14191a162a0a0cf00000002540be4000000a0a0c2c2a0a0c20000"
        "a0c3",
    ),
    (registry.DEREGISTER, DeregisterCommand(node="n"), "0193a16ea0a0"),
    (registry.DEREGISTER, DeregisterCommand(node="n", service_id="s1", check_id="c"), "0193a16ea27331a163"),
    (
        registry.COORDINATES,
        CoordinateBatch(
            updates=[
                NodeCoordinate(
                    node="n",
                    segment="s",
                    coordinate=Coordinate(vec=[0.5] * 8, error=1.25, adjustment=-0.5, height=0.001),
                )
            ]
        ),
        "86919193a16ea1739498" + "cb3fe0000000000000" * 8 + "cb3ff4000000000000cbbfe0000000000000cb3f50624dd2f1a9fc",
    ),
    (
        registry.AUTOPILOT,
        AutopilotCommand(
            config=AutopilotConfig(cleanup_dead_servers=False, max_trailing_logs=7, modify_index=300), cas=True
        ),
        "099399c2ce0bebc20007cf00000002540be400a0c2a000cd012cc3c2",
    ),
    (
        registry.SESSION,
        SessionCommand(
            verb=SessionVerb.CREATE,
            session=Session(
                session_id="40e4a748-2192-161a-0510-9bf59fe950b5",
                name="leader",
                node="n",
                node_checks=["serfHealth"],
                service_checks=[ServiceCheck(check_id="web", namespace="default")],
                lock_delay_ns=15_000_000_000,
                behavior=SessionBehavior.DELETE,
                ttl="15.0s",
            ),
        ),
        "0393a66372656174659ad92434306534613734382d323139322d313631612d303531302d396266353966653935306235a66c6561"
        "646572a16e91aa736572664865616c74689192a3776562a764656661756c74cf000000037e11d600a664656c657465a531352e30"
        "73000090",
    ),
    (
        registry.SESSION,
        SessionCommand(verb=SessionVerb.DESTROY, session_ids=["40e4a748-2192-161a-0510-9bf59fe950b5"]),
        "0393a764657374726f79c091d92434306534613734382d323139322d313631612d303531302d396266353966653935306235",
    ),
    (registry.KVS, KVCommand(verb=KVVerb.LOCK, key="k", session="s"), "0296a46c6f636ba16bc4000000a173"),
    (registry.RESTORE_BEGIN, RestoreBegin(restore_id="r", index=7), "4092a17207"),
    (registry.RESTORE_CHUNK, RestoreChunk(restore_id="r", position=1, payload=b"p"), "4193a17201c40170"),
    (
        registry.RESTORE_COMMIT,
        RestoreCommit(restore_id="r", chunks_count=2, rows_count=3, chain=b"c"),
        "4294a1720203c40163",
    ),
    (registry.RESTORE_ABORT, RestoreAbort(restore_id="r"), "4391a172"),
    (
        registry.TXN,
        TxnCommand(
            operations=[
                TxnOp(verb="cas", node=Node(node="n", node_id="id", address="a", meta={"k": "v"}, modify_index=7)),
                TxnOp(
                    verb="set",
                    service=ServiceOnNode(node="n", service=NodeService(service_id="s1", service="s", port=80)),
                ),
                TxnOp(verb="delete-cas", check=HealthCheck(node="n", check_id="c", modify_index=300)),
            ]
        ),
        "08919399a3636173a0c4000000a098a26964a16ea161a0c081a16ba1760007c0c099a3736574a0c4000000a0c092a16e9fa0a273"
        "31a173c0a0c050c2a092c2c00000c0920101c0c099aa64656c6574652d636173a0c4000000a0c0c09da16ea163a0a0a0a0a0a0c0"
        "9fa0c2c0a0a0000000a0a0c2c2a0a0c200cd012ca0",
    ),
    (
        registry.PREPARED_QUERY,
        PreparedQueryCommand(op=PreparedQueryOp.DELETE, query=PreparedQuery(query_id="q")),
        "0792a664656c65746599a171a0a0a093a0a0c298a09200c0c2c0a0c0c0c2a00000",
    ),
    (
        registry.PREPARED_QUERY,
        PreparedQueryCommand(
            op=PreparedQueryOp.CREATE,
            query=PreparedQuery(
                query_id="q",
                name="geo-",
                session="s",
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
            ),
        ),
        "0792a663726561746599a171a467656f2da173a17493b16e616d655f7072656669785f6d61746368aa5e67656f2d282e2a2924c3"
        "98ab247b6d617463682831297d920391a3646332c391a163a65f6167656e7492a161a2216281a16ba176c3a33130730000",
    ),
]


OLDER: dict[str, int] = {
    # A transaction before its operations could be on nodes, services and checks.
    "08919296a3736574a16bc401760000a096ab636865636b2d696e646578a16bc4000009a0": 5,
    # A registration before services had weights, tagged addresses and a proxy, and checks a kind.
    "0099d92434306534613734382d323139322d313631612d303531302d396266353966653935306235a16ea161a364633181a36c616ea1"
    "6181a16ba1769ca0a27331a17391a174a081a16da13150c2a092c39391a163a081a178010000919ca16ea163a143a770617373696e67"
    "a0a0a27331a0c098a8687474703a2f2f68c281a14191a162a0a0cf00000002540be40000000000c3": 7,
}
"""What earlier versions wrote -> position in COMMANDS of the record that it means."""


@pytest.mark.parametrize(("number", "record", "golden"), COMMANDS, ids=lambda value: type(value).__name__)
def test_commands_are_written_as_they_always_were(number: int, record: object, golden: str) -> None:
    kind = registry.COMMANDS[number].kind
    assert isinstance(record, kind)
    assert registry.encode_command(number, record).hex() == golden
    assert bytes.fromhex(golden)[0] & ~registry.IGNORABLE == number
    assert decode(kind, bytes.fromhex(golden)[1:]) == record


@pytest.mark.parametrize(("golden", "position"), OLDER.items())
def test_what_earlier_versions_wrote_means_what_it_meant(golden: str, position: int) -> None:
    number, record, _ = COMMANDS[position]
    assert decode(registry.COMMANDS[number].kind, bytes.fromhex(golden)[1:]) == record


def test_every_kind_of_command_has_golden_bytes() -> None:
    assert {number for number, _, _ in COMMANDS} == set(registry.COMMANDS)


def write_golden(replica: Replica) -> None:
    """What is in `archive_v1/state.tgz`."""
    replica.set("a", b"1")
    replica.set("flags", b"2", flags=2**64 - 1)
    replica.set("deleted", b"")
    replica.delete("deleted")
    replica.set("tree/1", b"")
    replica.delete_tree("tree/")
    replica.set("long/" * 250, b"a key of three pieces")


def test_an_archive_of_the_first_format_is_read_and_restored(tmp_path: Path) -> None:
    written = Replica(tmp_path / "written")
    write_golden(written)
    found = archive.read_archive(io.BytesIO((ARCHIVES / "state.tgz").read_bytes()))
    assert (found.meta.index, found.meta.snapshot_id, found.meta.peers[0].address) == (7, "1-7", "10.0.0.1:8300")
    restored = Replica(tmp_path / "restored")
    for command in found.commands("r"):
        restored.run(command)
    assert restored.dump() == written.dump()
    restored.check()
    restored.close()
    written.close()


def test_the_first_format_is_still_written_byte_for_byte(tmp_path: Path) -> None:
    replica = Replica(tmp_path)
    write_golden(replica)
    file = io.BytesIO()
    peers = [Peer(server_id="id-1", name="", address="10.0.0.1:8300")]
    with replica.machine.read() as view:
        meta = ArchiveMeta(snapshot_id="1-7", index=view.index, term=view.term, peers=peers)
        archive.write_archive(view, file, meta)
    replica.close()
    golden = archive.read_archive(io.BytesIO((ARCHIVES / "state.tgz").read_bytes()))
    now = archive.read_archive(file)
    # The deflated bytes belong to zlib and may change with it; what is inside may not.
    assert list(now.chunks()) == list(golden.chunks())
    assert now.meta == golden.meta
