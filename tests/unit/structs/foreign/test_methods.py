"""The table of foreign methods: both directions agree, and what registries say of each other holds."""

import importlib
import pkgutil
import typing
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import server.endpoints
from base.codec import Mistyped, Record, decode, encode, pack_old, unpack_old
from base.errors import InvalidRequest, Refused
from server.endpoints.registry import METHODS
from structs.autopilot import AutopilotConfig
from structs.catalog import (
    CheckStatus,
    HealthCheck,
    Node,
    NodeDumpReply,
    NodeDumpRequest,
    NodeInfo,
    NodeService,
    QuerySource,
    ServiceNodesReply,
    ServiceRequest,
)
from structs.cluster import Empty, RemovePeerRequest
from structs.foreign import catalog, kv, operator, txn
from structs.foreign.methods import FOREIGN_METHODS, ROWS, encode_reply, translate
from structs.foreign.row import ForeignMethod
from structs.kv import KVApplyReply, KVApplyRequest, KVCommand, KVEntry, KVGetReply, KVGetRequest, KVVerb
from structs.query import Consistency, QueryMeta, QueryOptions
from structs.service_summary import ServiceSummary, ServiceSummaryReply
from structs.session import ServiceCheck, Session, SessionApplyRequest, SessionVerb
from structs.txn import TxnOp, TxnOutcome, TxnReply, TxnRequest, TxnResult

for found in pkgutil.iter_modules(server.endpoints.__path__):
    importlib.import_module(f"server.endpoints.{found.name}")

TEXT = st.text(st.characters(codec="utf-8"), max_size=5)
SMALL = st.integers(0, 9)
PLAIN: dict[Any, st.SearchStrategy[Any]] = {
    str: TEXT,
    int: SMALL,
    bool: st.booleans(),
    bytes: st.binary(max_size=5),
    float: SMALL.map(float),
    type(None): st.none(),
    object: st.one_of(TEXT, SMALL, st.lists(TEXT, max_size=2)),
}
UNTOLD: dict[tuple[str, str], st.SearchStrategy[Any]] = {
    ("QueryMeta", "consistency"): st.just(Consistency.DEFAULT),
    ("RaftServer", "last_index"): st.just(0),
    ("ServerHealth", "meta"): st.just({}),
    ("KeyringAnswer", "primary_keys"): st.just({}),
    ("Session", "service_checks"): st.just([]),
    ("ListServicesRequest", "filter"): st.just(""),
    ("KVKeysRequest", "separator"): st.none() | st.just("/"),  # "" means the same as None
}
"""Attributes that do not travel, or not in all their values."""
NOT_ZERO = {
    "KVS.Apply": 'unknown KV verb ""',
    "PreparedQuery.Apply": 'unknown prepared query operation ""',
    "Session.Apply": 'unknown session operation ""',
    "Internal.KeyringOperation": 'unknown keyring operation ""',
}
"""Methods that do not take a request of zero values, and what they say."""
NODES_IN_PART = {"Catalog.ServiceNodes", "Internal.NodeInfo", "Internal.NodeDump"}
REMOVALS = {"Operator.RaftRemovePeerByID": "address", "Operator.RaftRemovePeerByAddress": "server_id"}


def records(kind: Any) -> st.SearchStrategy[Any]:
    """Any value of a type of ours that foreign members can hold too."""
    if kind in PLAIN:
        return PLAIN[kind]
    origin, inner = typing.get_origin(kind), typing.get_args(kind)
    if origin is list:
        return st.lists(records(inner[0]), max_size=2)
    if origin is dict:
        return st.dictionaries(TEXT, records(inner[1]), max_size=2)
    if origin is not None:  # X | None
        return st.one_of([records(each) for each in inner])
    if not issubclass(kind, Record):
        return st.sampled_from(list(kind))
    hints = typing.get_type_hints(kind)
    fields = {
        name: UNTOLD[(kind.__name__, name)] if (kind.__name__, name) in UNTOLD else records(hint)
        for name, hint in hints.items()
    }
    return st.builds(kind, **fields)


def as_told(row: ForeignMethod, request: Any) -> Any:
    """The request as it looks after the way there and back."""
    options: Any = getattr(request, "options", None)
    if row.name == "Catalog.Register":  # one field there for both
        options = msgspec.structs.replace(options, datacenter=request.command.datacenter)
    elif row.name in ("Txn.Apply", "Session.Renew"):
        options = QueryOptions(token=options.token, datacenter=options.datacenter)
    elif isinstance(request, ServiceRequest) and not request.source.node:
        request = msgspec.structs.replace(request, source=QuerySource())
    if isinstance(request, TxnRequest):
        request = TxnRequest(operations=[told_operation(op) for op in request.operations], options=request.options)
    if row.name in REMOVALS:
        return msgspec.structs.replace(request, **{REMOVALS[row.name]: ""})
    return request if options is None else msgspec.structs.replace(request, options=options)


def told_operation(op: TxnOp) -> TxnOp:
    """One operation has one subject, and those of the catalog have no key."""
    if op.node is not None:
        return TxnOp(verb=op.verb, node=op.node)
    if op.service is not None:
        return TxnOp(verb=op.verb, service=op.service)
    return TxnOp(verb=op.verb, check=op.check) if op.check is not None else op


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name)
@settings(max_examples=30, deadline=None)
@given(data=st.data())
def test_requests_survive_the_way_there_and_back(row: ForeignMethod, data: st.DataObject) -> None:
    record = data.draw(records(row.request.record))
    sent = row.request.encode(record)
    assert list(sent) == sorted(sent)
    assert row.request.decode(unpack_old(pack_old(sent))) == as_told(row, record)


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name)
@settings(max_examples=30, deadline=None)
@given(data=st.data())
def test_replies_survive_the_way_there_and_back(row: ForeignMethod, data: st.DataObject) -> None:
    record = data.draw(records(row.reply_record))
    if row.name == "Catalog.NodeServices":
        unique = {service.service_id: service for service in record.services} if record.node is not None else {}
        record = msgspec.structs.replace(record, services=list(unique.values()))
    if isinstance(record, TxnReply):
        record = shown(record, with_meta=row.name == "Txn.Read")
    if row.name == "Internal.EventFire":
        record = row.reply_record()
    if row.name in NODES_IN_PART:
        record = with_nodes_in_part(record)
    assert row.reply.encode is not None
    heard = row.reply.decode(unpack_old(pack_old(row.reply.encode(record))))
    assert heard == record


def with_nodes_in_part(reply: Any) -> Any:
    """Joined rows there say less of a node than its own row does."""
    if isinstance(reply, ServiceNodesReply):
        found = [
            msgspec.structs.replace(
                one, node=msgspec.structs.replace(one.node, create_index=0, modify_index=0), checks=[]
            )
            for one in reply.instances
        ]
        return msgspec.structs.replace(reply, instances=found)
    infos = [
        msgspec.structs.replace(
            one, node=msgspec.structs.replace(one.node, datacenter="", create_index=0, modify_index=0)
        )
        for one in reply.nodes
    ]
    return msgspec.structs.replace(reply, nodes=infos)


def told_result(result: TxnResult) -> TxnResult:
    if result.node is not None:
        return TxnResult(node=result.node)
    if result.service is not None:
        return TxnResult(service=result.service)
    if result.check is not None:
        return TxnResult(check=result.check)
    return TxnResult(entry=result.entry, with_value=bool(result.entry.value))


def shown(reply: TxnReply, *, with_meta: bool) -> TxnReply:
    """Whether a value is meant to be seen is told there by its being there."""
    results = [told_result(result) for result in reply.outcome.results]
    meta = reply.meta if with_meta else QueryMeta()
    return TxnReply(outcome=TxnOutcome(results=results, errors=reply.outcome.errors), meta=meta)


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name)
def test_rows_agree_with_the_methods_of_the_server(row: ForeignMethod) -> None:
    method = METHODS.get(row.method)
    if method is not None:
        assert method.request is row.request.record
        assert method.reply is row.reply_record


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name)
def test_nil_and_an_empty_map_are_requests_of_zero_values(row: ForeignMethod) -> None:
    if row.name in NOT_ZERO:
        with pytest.raises(InvalidRequest, match=NOT_ZERO[row.name]):
            row.request.decode({})
        return
    empty = row.request.decode({})
    assert row.request.decode(None) == row.request.decode([]) == empty


def test_what_is_missing_is_zero_and_not_our_default() -> None:
    config = operator.AUTOPILOT_CONFIG.decode({})
    assert AutopilotConfig().cleanup_dead_servers
    assert not config.cleanup_dead_servers
    assert config.max_trailing_logs == 0


def test_an_array_fills_the_fields_in_their_order() -> None:
    assert kv.ENTRY.decode([7, b"a", 1, b"v"]) == KVEntry(lock_index=7, key="a", flags=1, value=b"v")


@pytest.mark.parametrize(
    ("argument", "words"),
    [
        ({"Key": 5}, "Key: expected text"),
        ({"Key": b"\xff"}, "Key: text that is not UTF-8"),
        ({"MinQueryIndex": -1}, "MinQueryIndex"),
        ({"MinQueryIndex": 1.0}, "MinQueryIndex"),
        ({"MinQueryIndex": 1 << 64}, "MinQueryIndex"),
        ({"AllowStale": b"yes"}, "a bool"),
        (b"text", "expected a map"),
        (5, "expected a map"),
    ],
)
def test_wrong_types_name_their_field(argument: Any, words: str) -> None:
    with pytest.raises(Mistyped, match=words):
        kv.GET.decode(argument)


def test_what_proxies_are_configured_with_is_kept_as_it_is_and_has_a_depth() -> None:
    proxy = catalog.CONNECT_PROXY.decode({"Config": {"a": [b"text", 1, 2.5, None, {"b": True}]}})
    assert proxy.config == {"a": ["text", 1, 2.5, None, {"b": True}]}
    deep: Any = b"x"
    for _ in range(100):
        deep = [deep]
    with pytest.raises(Mistyped, match="levels"):
        catalog.CONNECT_PROXY.decode({"Config": {"a": deep}})


def test_a_transaction_shows_values_only_where_they_were_asked_for() -> None:
    entry = KVEntry(key="a", value=b"v")
    outcome = TxnOutcome(results=[TxnResult(entry=entry), TxnResult(entry=entry, with_value=True)])
    sent = txn.APPLY_REPLY.encode(TxnReply(outcome=outcome))
    assert [result["KV"]["Value"] for result in sent["Results"]] == [None, b"v"]
    assert sent["Errors"] is None
    read = unpack_old(
        encode_reply(FOREIGN_METHODS["Txn.Read"], TxnReply(outcome=outcome, meta=QueryMeta(index=9)), None)
    )
    assert read["Index"] == 0


def test_an_operation_without_content_is_one_that_fails() -> None:
    assert txn.OPERATION.decode({"KV": None}) == TxnOp(verb="")


# Our calls


def test_our_call_names_a_datacenter_and_the_answer_says_what_was_asked() -> None:
    request = KVGetRequest(key="a", options=QueryOptions(consistency=Consistency.STALE, index_min=4, wait_s=60.0))
    call = translate("KVS.Get", encode(request), datacenter="dc1")
    assert (call.name, call.wait_s) == ("KVS.Get", 60.0)
    assert call.argument["Datacenter"] == "dc1"
    assert call.argument["AllowStale"]
    answer = {"Entries": [{"Key": b"a", "Value": b"v", "ModifyIndex": 5}], "Index": 5, "KnownLeader": True}
    reply = decode(KVGetReply, call.reply(answer))
    assert reply.entry == KVEntry(key="a", value=b"v", modify_index=5)
    assert reply.meta == QueryMeta(index=5, consistency=Consistency.STALE)


def test_a_write_that_carries_no_verdict_has_succeeded() -> None:
    for verb, said, ok in ((KVVerb.SET, False, True), (KVVerb.CAS, False, False), (KVVerb.CAS, True, True)):
        request = KVApplyRequest(command=KVCommand(verb=verb, key="a"))
        call = translate("KVS.Apply", encode(request), datacenter="dc1")
        assert decode(KVApplyReply, call.reply(said)).ok is ok


def test_a_session_with_checks_that_they_do_not_know_is_refused_rather_than_made_without() -> None:
    checks = [ServiceCheck(check_id="c")]
    for service_checks in ([], checks):
        wanted = Session(session_id="", node="n", service_checks=service_checks)
        body = encode(SessionApplyRequest(verb=SessionVerb.CREATE, session=wanted))
        if service_checks:
            with pytest.raises(InvalidRequest, match="no foreign method"):
                translate("Session.Apply", body, datacenter="dc1")
        else:
            assert translate("Session.Apply", body, datacenter="dc1").argument["Session"]["Node"] == "n"


def test_removing_a_peer_is_two_methods_there() -> None:
    for request, name in (
        (RemovePeerRequest(server_id="x"), "Operator.RaftRemovePeerByID"),
        (RemovePeerRequest(address="x:1"), "Operator.RaftRemovePeerByAddress"),
    ):
        assert translate("Operator.RaftRemovePeer", encode(request), datacenter="dc1").name == name


def test_what_they_do_not_have_is_refused_before_it_is_asked() -> None:
    with pytest.raises(Refused, match="can't find method Cluster"):
        translate("Cluster.Members", encode(Empty()), datacenter="dc1")


def test_an_answer_of_the_wrong_shape_is_told() -> None:
    call = translate("KVS.Get", encode(KVGetRequest(key="a")), datacenter="dc1")
    with pytest.raises(InvalidRequest):
        call.reply(b"something else")


def test_a_transaction_is_asked_with_the_options_of_its_kind() -> None:
    request = TxnRequest(operations=[TxnOp(verb="set", key="a", value=b"v", index=3)])
    call = translate("Txn.Apply", encode(request), datacenter="dc1")
    assert set(call.argument) == {"Datacenter", "Ops", "Token"}
    assert call.argument["Ops"][0]["KV"]["DirEnt"]["ModifyIndex"] == 3


def test_a_summary_is_made_of_what_foreign_servers_list() -> None:
    call = translate("Internal.ServiceSummary", encode(NodeDumpRequest()), datacenter="dc1")
    assert call.name == "Internal.NodeDump"
    assert call.argument["Datacenter"] == "dc1"
    checks = [HealthCheck(node="n", check_id="c", status=CheckStatus.CRITICAL)]
    info = NodeInfo(node=Node(node="n"), services=[NodeService(service_id="w", service="web", tags=["v1"])],
                    checks=checks)  # fmt: skip
    said = encode_reply(FOREIGN_METHODS["Internal.NodeDump"], NodeDumpReply(nodes=[info]), NodeDumpRequest())
    reply = decode(ServiceSummaryReply, call.reply(unpack_old(said)))
    assert reply.services == [ServiceSummary(name="web", tags=["v1"], nodes=["n"], critical_count=1)]
