"""A reply that says what the last one said is made of the same parts; any other is read."""

import pytest

from agent.remembered import REPLY_BYTES_MIN, Remembered
from base import codec
from base.errors import InvalidRequest
from structs.catalog import ListServicesReply, Node, NodeService, ServiceInstance, ServiceNodesReply
from structs.kv import KVApplyReply
from structs.query import QueryMeta


def reply_of(count: int, *, port: int = 80, meta: QueryMeta | None = None) -> ServiceNodesReply:
    service = NodeService(service_id="web", service="web", port=port, tags=["x" * 50])
    instances = [ServiceInstance(node=Node(node=f"n{number}"), service=service) for number in range(count)]
    return ServiceNodesReply(instances=instances, meta=meta or QueryMeta(index=5))


def test_equal_bytes_give_the_same_parts_under_a_new_meta() -> None:
    remembered = Remembered()
    first = remembered.decode(ServiceNodesReply, b"k", codec.encode(reply_of(20)))
    assert first == reply_of(20)
    for meta in (QueryMeta(index=5), QueryMeta(index=7, last_contact_ms=70_000, known_leader=False)):
        again = remembered.decode(ServiceNodesReply, b"k", codec.encode(reply_of(20, meta=meta)))
        assert again == reply_of(20, meta=meta)
        assert again.instances is first.instances


def test_anything_else_is_read_anew() -> None:
    remembered = Remembered()
    first = remembered.decode(ServiceNodesReply, b"k", codec.encode(reply_of(20)))
    for other in (reply_of(20, port=81), reply_of(21), reply_of(19)):
        assert remembered.decode(ServiceNodesReply, b"k", codec.encode(other)) == other
    other_key = remembered.decode(ServiceNodesReply, b"other", codec.encode(reply_of(20)))
    assert other_key == first
    assert other_key.instances is not first.instances


def test_the_reply_of_another_method_is_never_taken_for_it() -> None:
    remembered = Remembered()
    services = ListServicesReply(services={f"service-{number}": ["x" * 20] for number in range(50)})
    data = codec.encode(services)
    assert len(data) > REPLY_BYTES_MIN
    assert remembered.decode(ListServicesReply, b"k", data) == services
    with pytest.raises(InvalidRequest):
        remembered.decode(ServiceNodesReply, b"k", data)


def test_small_replies_and_those_without_a_meta_are_just_read() -> None:
    remembered = Remembered()
    data = codec.encode(reply_of(1))
    assert len(data) < REPLY_BYTES_MIN
    assert remembered.decode(ServiceNodesReply, b"k", data).instances is not (
        remembered.decode(ServiceNodesReply, b"k", data).instances
    )
    assert remembered.decode(KVApplyReply, b"k", codec.encode(KVApplyReply(ok=True))) == KVApplyReply(ok=True)


def test_a_broken_reply_is_refused_whether_something_is_remembered_or_not() -> None:
    remembered = Remembered()
    data = codec.encode(reply_of(20))
    for _ in range(2):
        with pytest.raises(InvalidRequest):
            remembered.decode(ServiceNodesReply, b"k", data[:-3])
        remembered.decode(ServiceNodesReply, b"k", data)
