"""Watches: who is woken by which batch, and who is not."""

from fsm.store import kv
from fsm.watch import Handle, WatchRegistry, WatchSet
from structs.kv import KVVerb
from structs.txn import TxnOp
from tests.fakes.replica import Replica


class Bell:
    """A waiter that counts."""

    def __init__(self) -> None:
        self.rung = 0

    def fire(self) -> None:
        self.rung += 1


def watch_key(registry: WatchRegistry, key: str) -> tuple[Bell, Handle]:
    bell = Bell()
    return bell, registry.register(WatchSet().key("kvs", key), bell)


def watch_prefix(registry: WatchRegistry, prefix: str) -> tuple[Bell, Handle]:
    bell = Bell()
    return bell, registry.register(WatchSet().prefix("kvs", prefix), bell)


def test_a_write_wakes_the_watchers_of_its_key_and_prefixes_only(replica: Replica) -> None:
    registry = replica.machine.watches
    hit = [watch_key(registry, "a/b")[0], watch_prefix(registry, "a/")[0], watch_prefix(registry, "")[0]]
    missed = [watch_key(registry, "a/")[0], watch_key(registry, "a/bc")[0], watch_prefix(registry, "a/bc")[0]]
    replica.set("a/b")
    assert [bell.rung for bell in hit] == [1, 1, 1]
    assert [bell.rung for bell in missed] == [0, 0, 0]


def test_a_waiter_is_fired_once_a_batch_however_much_it_watches(replica: Replica) -> None:
    bell = Bell()
    watch_set = WatchSet().key("kvs", "a").prefix("kvs", "a").table("kvs")
    replica.machine.watches.register(watch_set, bell)
    for value in (b"1", b"2", b"3"):
        replica.write(KVVerb.SET, "a", value, commit=False)
    assert bell.rung == 0
    replica.machine.commit_batch()
    assert bell.rung == 1


def test_waiting_on_an_absent_key_wakes_when_it_appears_and_when_it_goes(replica: Replica) -> None:
    bell, _ = watch_key(replica.machine.watches, "a")
    replica.set("a")
    replica.delete("a")
    assert bell.rung == 2


def test_a_write_that_changes_nothing_wakes_nobody(replica: Replica) -> None:
    replica.set("a", b"1")
    bell, _ = watch_key(replica.machine.watches, "a")
    replica.set("a", b"1")
    assert not replica.ok(KVVerb.CAS, "a", b"2", cas_index=99)
    replica.delete("absent")
    assert bell.rung == 0


def test_a_refused_transaction_wakes_nobody(replica: Replica) -> None:
    bell, _ = watch_key(replica.machine.watches, "a")
    assert replica.txn(TxnOp(verb="set", key="a"), TxnOp(verb="get", key="absent")).errors
    assert bell.rung == 0


def test_deleting_a_small_tree_wakes_the_watchers_of_its_keys_exactly(replica: Replica) -> None:
    replica.set("t/1")
    registry = replica.machine.watches
    gone, _ = watch_key(registry, "t/1")
    beside, _ = watch_key(registry, "t/2")
    replica.delete_tree("t/")
    assert (gone.rung, beside.rung) == (1, 0)


def test_deleting_a_large_tree_wakes_everyone_under_and_above_it(replica: Replica) -> None:
    for number in range(kv.TOUCHED_KEYS_MAX + 1):
        replica.write(KVVerb.SET, f"t/{number}", commit=False)
    replica.machine.commit_batch()
    registry = replica.machine.watches
    hit = [
        watch_key(registry, "t/5")[0],
        watch_prefix(registry, "t/5")[0],
        watch_prefix(registry, "t")[0],
        watch_prefix(registry, "")[0],
    ]
    missed = [watch_key(registry, "t")[0], watch_key(registry, "u")[0], watch_prefix(registry, "u")[0]]
    replica.delete_tree("t/")
    assert [bell.rung for bell in hit] == [1, 1, 1, 1]
    assert [bell.rung for bell in missed] == [0, 0, 0]


def test_an_unregistered_waiter_is_never_fired_and_leaves_nothing_behind(replica: Replica) -> None:
    registry = replica.machine.watches
    bell, handle = watch_key(registry, "a")
    other, other_handle = watch_prefix(registry, "a")
    registry.unregister(handle)
    registry.unregister(handle)
    registry.unregister(other_handle)
    replica.set("a")
    assert (bell.rung, other.rung, len(registry)) == (0, 0, 0)
    watches = registry._tables["kvs"]
    assert not watches.by_key
    assert not watches.by_prefix
    assert not watches.prefix_lengths


def test_one_of_two_watchers_of_a_prefix_may_leave(replica: Replica) -> None:
    registry = replica.machine.watches
    first, handle = watch_prefix(registry, "a")
    second, _ = watch_prefix(registry, "a")
    registry.unregister(handle)
    replica.set("ab")
    assert (first.rung, second.rung) == (0, 1)


def test_waiters_are_fired_in_the_order_in_which_they_registered() -> None:
    registry = WatchRegistry()
    order: list[int] = []

    class Noted:
        def __init__(self, number: int) -> None:
            self.number = number

        def fire(self) -> None:
            order.append(self.number)

    for number in range(100):
        registry.register(WatchSet().key("kvs", "a"), Noted(number))
    assert registry.fire({"kvs": [b"a"]}, []) == 100
    assert order == list(range(100))


def test_abandoning_fires_everyone_once_and_forgets_them() -> None:
    registry = WatchRegistry()
    bell, handle = watch_key(registry, "a")
    assert registry.abandon_all() == 1
    assert not handle.active
    assert registry.fire({"kvs": [b"a"]}, []) == 0
    registry.unregister(handle)
    assert (bell.rung, len(registry)) == (1, 0)


def test_five_thousand_waiters_on_one_key_cost_one_look_up_each(replica: Replica) -> None:
    registry = replica.machine.watches
    bells = [watch_key(registry, "a")[0] for _ in range(5_000)]
    replica.set("b")
    replica.set("a")
    assert {bell.rung for bell in bells} == {1}
