"""The machine: order, batches, digests at an index, determinism, unknown commands."""

from pathlib import Path

import pytest

from base.codec import encode
from base.errors import InvariantBroken
from fsm.commands import registry
from fsm.digest import INTERVAL_ENTRIES, RING_COUNT
from fsm.machine import Machine
from fsm.store import kv
from fsm.store.store import Store
from fsm.watch import WatchRegistry
from structs.kv import KVApplyReply, KVCommand, KVVerb
from structs.txn import TxnCommand, TxnOp
from tests.fakes.replica import Replica

LONG = "k" * 700


def a_log() -> list[bytes]:
    """Some three hundred commands of every kind, the same each time."""
    log = []
    for number in range(300):
        key = LONG + str(number % 7) if number % 5 == 0 else f"dir/{number % 23}"
        verb = (KVVerb.SET, KVVerb.SET, KVVerb.DELETE, KVVerb.CAS)[number % 4]
        log.append(registry.encode_command(registry.KVS, KVCommand(verb=verb, key=key, value=b"%d" % number)))
        if number % 17 == 0:
            operations = [TxnOp(verb="set", key=f"dir/{number}"), TxnOp(verb="delete-tree", key="dir/1")]
            if number % 2:
                operations.append(TxnOp(verb="check-not-exists", key=f"dir/{number}"))
            log.append(registry.encode_command(registry.TXN, TxnCommand(operations=operations)))
    return log


def replay(directory: Path, log: list[bytes], batch_entries: int) -> Replica:
    replica = Replica(directory)
    for position, command in enumerate(log, 1):
        replica.run(command, commit=position % batch_entries == 0)
    replica.machine.commit_batch()
    return replica


def test_the_same_log_gives_the_same_state_whatever_the_batches_are(tmp_path: Path) -> None:
    log = a_log()
    replicas = [replay(tmp_path / str(size), log, size) for size in (1, 7, 64, len(log))]
    assert len({replica.machine.digest_now for replica in replicas}) == 1
    assert all(replica.dump() == replicas[0].dump() for replica in replicas)
    known = replicas[0].machine.digests_known()
    assert known == [64, 128, 192, 256]
    for replica in replicas:
        assert [replica.machine.digest_at(index) for index in known] == [
            replicas[0].machine.digest_at(index) for index in known
        ]
        replica.check()
        replica.close()


def test_the_digest_differs_as_soon_as_one_row_does(tmp_path: Path) -> None:
    log = a_log()
    one = replay(tmp_path / "1", log, 10)
    other_command = registry.encode_command(registry.KVS, KVCommand(verb=KVVerb.SET, key="dir/1", value=b"other"))
    two = replay(tmp_path / "2", [*log[:-1], other_command], 10)
    assert one.machine.digest_now != two.machine.digest_now
    one.close()
    two.close()


def test_only_the_newest_digests_are_remembered(replica: Replica) -> None:
    machine = replica.machine
    last = INTERVAL_ENTRIES * (RING_COUNT + 3)
    for index in range(1, last + 1):
        machine.skip(index, 1)
    assert machine.digests_known() == []
    machine.commit_batch()
    known = machine.digests_known()
    assert (len(known), known[0], known[-1]) == (RING_COUNT, INTERVAL_ENTRIES * 4, last)
    assert machine.digest_at(INTERVAL_ENTRIES) is None


def test_digests_survive_reopening_and_skipped_entries_do_not_lose_one(replica: Replica) -> None:
    replica.set("a")
    replica.machine.apply(
        70, 2, registry.encode_command(registry.KVS, KVCommand(verb=KVVerb.SET, key="b"))
    )  # the entries between held no commands
    replica.machine.commit_batch()
    digest = replica.machine.digest_at(64)
    assert digest is not None
    again = Machine(replica.machine.store, WatchRegistry())
    assert (again.digest_at(64), again.raft_index_applied, again.term_applied) == (digest, 70, 2)


def test_nothing_is_visible_before_the_batch_is_committed(replica: Replica) -> None:
    replica.write(KVVerb.SET, "a", b"1", commit=False)
    assert replica.get("a")[0] is None
    assert (replica.machine.raft_index_applied, replica.machine.raft_index_visible) == (1, 0)
    replica.machine.commit_batch()
    assert replica.entry("a").value == b"1"
    assert replica.machine.raft_index_visible == 1


def test_a_view_keeps_seeing_what_it_saw(replica: Replica) -> None:
    replica.set("a", b"1")
    with replica.machine.read() as view:
        replica.set("a", b"2")
        assert (view.raft_index, view.index, view.term) == (1, 1, 1)
        entry, _ = kv.get(view, "a")
        assert entry is not None
        assert entry.value == b"1"


def test_committing_nothing_is_harmless(replica: Replica) -> None:
    replica.machine.commit_batch()
    assert replica.machine.raft_index_applied == 0


@pytest.mark.parametrize(("raft_index", "term"), [(1, 2), (2, 2), (3, 1)])
def test_an_entry_out_of_order_stops_the_machine(tmp_path: Path, raft_index: int, term: int) -> None:
    machine = Machine(Store.create(tmp_path), WatchRegistry())
    machine.skip(2, 2)
    with pytest.raises(InvariantBroken, match="out of order"):
        machine.skip(raft_index, term)
    machine.close()


def test_an_unknown_command_stops_the_machine_and_says_what_to_do(tmp_path: Path) -> None:
    replica = Replica(tmp_path)
    with pytest.raises(InvariantBroken, match=r"log entry 1 holds command number 99.*newer version"):
        replica.run(bytes([99]) + encode(TxnCommand(operations=[])))
    replica.close()


def test_an_unknown_command_that_may_be_ignored_is_skipped(replica: Replica) -> None:
    assert replica.run(bytes([registry.IGNORABLE | 99]) + b"whatever") is None
    assert replica.raft_index == 1


def test_a_known_command_with_the_ignorable_bit_is_applied(replica: Replica) -> None:
    command = registry.encode_command(registry.KVS, KVCommand(verb=KVVerb.SET, key="a"))
    assert replica.run(bytes([command[0] | registry.IGNORABLE]) + command[1:]) == KVApplyReply(ok=True)


@pytest.mark.parametrize("command", [b"", b"\x02", b"\x02\xff\xff", b"\x02\x91\xc0", b"\x08\xc0"])
def test_a_malformed_command_in_the_log_stops_the_machine(tmp_path: Path, command: bytes) -> None:
    replica = Replica(tmp_path)
    with pytest.raises(InvariantBroken, match="log entry 1"):
        replica.run(command)
    replica.close()


def test_commands_are_numbered_as_they_always_were() -> None:
    numbers = {number: (command.name, command.kind.__name__) for number, command in registry.COMMANDS.items()}
    assert numbers == {
        0: ("register", "RegisterCommand"),
        1: ("deregister", "DeregisterCommand"),
        2: ("kvs", "KVCommand"),
        3: ("session", "SessionCommand"),
        5: ("tombstone", "TombstoneCommand"),
        6: ("coordinates", "CoordinateBatch"),
        7: ("prepared-query", "PreparedQueryCommand"),
        8: ("txn", "TxnCommand"),
        9: ("autopilot", "AutopilotCommand"),
        64: ("restore-begin", "RestoreBegin"),
        65: ("restore-chunk", "RestoreChunk"),
        66: ("restore-commit", "RestoreCommit"),
        67: ("restore-abort", "RestoreAbort"),
    }


def test_a_number_cannot_be_given_twice() -> None:
    row = registry.COMMANDS[registry.KVS]
    with pytest.raises(InvariantBroken, match="taken"):
        registry._registry(row, row)
