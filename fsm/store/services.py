"""Instances of services, and the counter of every service name.

Source: state store specification, sections 1 to 3.

| table    | key                  | value                                 |
| -------- | -------------------- | ------------------------------------- |
| services | node, service id     | encoded `NodeService`, 16-byte hash   |

`service.<name in lower case>` among the indexes is the counter of everything that an answer about this name holds: its
instances, their nodes and the checks of both. It exists as long as an instance does. Whoever waits for news of a
name watches its counter (`watch_name`), which is touched whenever it moves or goes.

A proxy answers for its destination, so what moves the counter of the proxy's name moves the destination's too.
"""

from collections.abc import Iterable, Iterator
from weakref import WeakKeyDictionary

from msgspec.structs import replace

from base.codec import decode, encode
from fsm.digest import DIGEST_BYTES
from fsm.store import indexes, keys, nodes, secondary
from fsm.store.names import JOINT_BYTES, key, lower
from fsm.store.store import Batch, ReadView, Store, View
from fsm.store.tables import INDEXES, SERVICES
from fsm.watch import WatchSet
from structs.catalog import CONNECT_PROXY, NodeService

COUNTER_PREFIX = b"service."


def of_row(row: bytes) -> NodeService:
    """Return a stored row as the record."""
    return decode(NodeService, memoryview(row)[:-DIGEST_BYTES])


def counter_of(name: str) -> str:
    """Return the counter of a service name."""
    return f"service.{lower(name)}"


def watch_name(watch_set: WatchSet, name: str) -> None:
    """Watch everything that an answer about a service name holds."""
    watch_set.key(INDEXES.name, counter_of(name).encode(errors="surrogatepass"))


def get(view: View, node: str, service_id: str) -> NodeService | None:
    """Return one instance, or None."""
    row = view.get(SERVICES, key(node, service_id))
    return of_row(row) if row is not None else None


def of_node(view: View, node: str) -> list[NodeService]:
    """Return the instances on a node, by id."""
    return [of_row(row) for _, row in rows_of_node(view, key(node))]


def rows_of_node(view: View, node_key: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Yield (key, row) of the instances on a node."""
    return keys.scan(view.txn, view.handles.pair(SERVICES), node_key + JOINT_BYTES)


def has_instance(view: View, name: str) -> bool:
    """Return whether any instance has this name."""
    return next(view.found(secondary.SERVICES_BY_NAME, key(name)), None) is not None


def index_of_name(view: View, name: str, *tables: str) -> int:
    """Return the index of an answer about a service name: that of its counter, of `tables` where it has none."""
    return view.index_row(counter_of(name)) or indexes.of_tables(view, *tables)


def of_name(view: View, name: str, *, connect: bool = False) -> Iterator[tuple[bytes, NodeService]]:
    """Yield (key of the node, instance) of a service name, by node and id.

    `connect`: instances that take mesh connections for this name, instead of those that have it.
    """
    for row_key in rows_of_name(view, name, connect=connect):
        row = view.get(SERVICES, row_key)
        assert row is not None, "an entry without its row"
        yield row_key[: row_key.index(JOINT_BYTES)], of_row(row)


def rows_of_name(view: View, name: str, *, connect: bool = False) -> Iterator[bytes]:
    """Yield the keys of the rows of a service name, without looking at them."""
    mark = secondary.SERVICES_BY_DESTINATION if connect else secondary.SERVICES_BY_NAME
    return view.found(mark, key(name))


def with_address(view: View, address: str) -> Iterator[tuple[bytes, NodeService]]:
    """Yield (key of the node, instance) of all that have this address of their own; reads the whole table."""
    for row_key, row in keys.scan(view.txn, view.handles.pair(SERVICES), b""):
        service = of_row(row)
        if service.address == address:
            yield row_key[: row_key.index(JOINT_BYTES)], service


Tags = dict[str, list[str]]
"""Names, spelt as their instances spell them, with all tags of these in order."""
_tags_of_names: WeakKeyDictionary[Store, tuple[int, dict[bytes, tuple[bytes, Tags]]]] = WeakKeyDictionary()
"""Store -> how often it had been replaced, and by key of a counter its row and what it stood for."""


def names_with_tags(view: ReadView) -> Tags:
    """Return each name with the tags of all its instances, both in order.

    A name whose counter has not moved since the last time is not looked at again. For the thread that commits.
    """
    epoch = view.restores_total
    known_epoch, known = _tags_of_names.get(view.store, (epoch, {}))
    if known_epoch != epoch:
        known = {}
    now: dict[bytes, tuple[bytes, Tags]] = {}
    found: Tags = {}
    for counter, row in keys.scan(view.txn, view.handles.indexes, COUNTER_PREFIX):
        last = known.get(counter)
        if last is None or last[0] != row:
            name = counter[len(COUNTER_PREFIX) :].decode(errors="surrogatepass")
            last = (row, _gathered(service for _, service in of_name(view, name)))
        now[counter] = last
        found.update(last[1])
    _tags_of_names[view.store] = (epoch, now)
    return {name: found[name] for name in sorted(found)}


def names_with_tags_on(view: View, node_meta: dict[str, str]) -> Tags:
    """Return the same for the instances on nodes that have all of `node_meta`."""
    found = nodes.every(view, node_meta)
    tags = _gathered(service for node in found for service in of_node(view, node.node))
    return {name: tags[name] for name in sorted(tags)}


def _gathered(instances: Iterable[NodeService]) -> Tags:
    tags: dict[str, set[str]] = {}
    for service in instances:
        tags.setdefault(service.service, set()).update(service.tags or ())
    return {name: sorted(items) for name, items in tags.items()}


def has_tags(service: NodeService, tags: list[str]) -> bool:
    """Return whether an instance has all these tags, in any case."""
    own = {lower(tag) for tag in service.tags or ()}
    return all(lower(tag) in own for tag in tags)


def is_changed_by(old: NodeService | None, service: NodeService) -> bool:
    """Return whether registering `service` changes what is stored; indexes don't count."""
    return old is None or old != replace(service, create_index=old.create_index, modify_index=old.modify_index)


def ensure(batch: Batch, node: str, service: NodeService) -> None:
    """Store an instance on a node that exists, unless it is the same already."""
    row_key = key(node, service.service_id)
    old_row = batch.get(SERVICES, row_key)
    old = of_row(old_row) if old_row is not None else None
    if not is_changed_by(old, service):
        return
    create_index = old.create_index if old is not None else batch.index
    row = replace(service, create_index=create_index, modify_index=batch.index)
    batch.write(SERVICES, row_key, encode(row), old_row)
    _touched(batch, row_key)
    if old is not None and _names(old) != _names(service):
        _bump(batch, _names(old))
    bump(batch, service)


def remove(batch: Batch, row_key: bytes, row: bytes) -> None:
    """Delete an instance and nothing else."""
    batch.remove(SERVICES, row_key, row)
    _touched(batch, row_key)
    _bump(batch, _names(of_row(row)))


def _touched(batch: Batch, row_key: bytes) -> None:
    batch.bump(SERVICES.name)
    batch.touched_keys[SERVICES.name][row_key] = None


# Counters of names


def _names(service: NodeService) -> list[str]:
    """Return the names about which an answer may hold this instance, its own first."""
    names = [lower(service.service)]
    if service.kind == CONNECT_PROXY and service.proxy_destination:
        names.append(lower(service.proxy_destination))
    return names


def bump(batch: Batch, service: NodeService) -> None:
    """What answers hold about the names of this instance, which is stored, changes with the entry being applied."""
    own, *others = _names(service)
    counter = counter_of(own)
    batch.bump(counter)
    batch.touched_keys[INDEXES.name][counter.encode()] = None
    _bump(batch, others)


def bump_name(batch: Batch, name: str) -> None:
    """What answers hold about a name that something other than an instance has changes; "": nothing."""
    if name:
        _bump(batch, [lower(name)])


def _bump(batch: Batch, names: list[str]) -> None:
    """Move the counters of these names, or remove those of names that have no instance."""
    for name in names:
        counter = counter_of(name)
        if has_instance(batch, name):
            batch.bump(counter)
        elif batch.index_row(counter):
            batch.drop_counter(counter)
        batch.touched_keys[INDEXES.name][counter.encode()] = None


def bump_node(batch: Batch, node_key: bytes) -> None:
    """What answers hold about every service on a node changes with the entry being applied."""
    for _, row in rows_of_node(batch, node_key):
        bump(batch, of_row(row))
