"""What foreign members of real clusters do and are asked."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from jepsen.cluster import Cluster, Node
from tests.fakes.foreign_gossip import ForeignMember
from tests.fakes.foreign_packing import NotForUs, RemoteError
from tests.fakes.foreign_site import beside
from tests.fakes.foreign_wire import Line, dial, request_bytes
from tests.integration.gossip_story import lone

OPTIONS = {
    "Datacenter": "dc1", "Token": "", "MinQueryIndex": 0, "MaxQueryTime": 0, "AllowStale": False,
    "RequireConsistent": False, "MaxStaleDuration": 0,
}  # fmt: skip
SECOND = 1_000_000_000
META = {"consul-network-segment": "", "made": "elsewhere"}
SERVICE = {
    "Kind": "", "ID": "web1", "Service": "web", "Tags": ["a", "b"], "Address": "", "Meta": None, "Port": 80,
    "EnableTagOverride": False, "ProxyDestination": "", "Connect": {"Native": False, "Proxy": None},
    "CreateIndex": 0, "ModifyIndex": 0,
}  # fmt: skip
DEFINITION = {
    "HTTP": "", "TLSSkipVerify": False, "Header": None, "Method": "", "TCP": "", "Interval": 0, "Timeout": 0,
    "DeregisterCriticalServiceAfter": 0,
}  # fmt: skip
INDEXES = ("CreateIndex", "ModifyIndex")


@asynccontextmanager
async def running(program: str, name: str, cluster: Cluster, *options: str) -> AsyncIterator[Node]:
    """A node outside the cluster's lists, started and ended."""
    node = lone(program, name, cluster, *options)
    try:
        node.start()
        await node.wait_answering()
        yield node
    except BaseException as error:
        error.add_note(f"--- {name}\n{node.log_tail()}")
        raise
    finally:
        node.close()


def refusal(member: ForeignMember, address: str) -> str:
    """Why a join comes to nothing, "" if it does not."""
    try:
        member.join(address)
    except (RemoteError, NotForUs) as error:
        return str(error)
    return ""


# Calls of a client agent, to be made in a thread


@asynccontextmanager
async def line_to_a_server(member: ForeignMember) -> AsyncIterator[Line]:
    """A stream of calls to a server that gossip has told of; its connection is closed in the end."""
    others = [seen for seen in member.servers() if seen is not member.me]
    session = await beside(dial, min(others, key=lambda seen: seen.name).rpc_address)
    try:
        yield session.open()
    finally:
        session.close()


def asked(line: Line, method: str, **argument: Any) -> Any:
    """The body of an answer; fails if an error was answered."""
    error, body = line.call(method, {**OPTIONS, **argument})
    assert error == "", f"{method}: {error}"
    return body


def settles_in(line: Line, member: ForeignMember) -> None:
    """Register node, service and check as a client agent does, and read back what it compares with its own."""
    name, host = member.name, member.address[0]
    found = asked(line, "Catalog.NodeServices", Node=name)
    assert found["NodeServices"]["Node"]["ID"] == member.me.tags["id"], "the leader knows it by gossip"
    assert [check["CheckID"] for check in asked(line, "Health.NodeChecks", Node=name)["HealthChecks"]] == ["serfHealth"]
    node = {
        "ID": member.me.tags["id"], "Node": name, "Address": host, "TaggedAddresses": {"lan": host, "wan": host},
        "NodeMeta": META, "Service": None, "Check": None, "Checks": None, "SkipNodeUpdate": False,
    }  # fmt: skip
    check = {
        "Node": name, "CheckID": "service:web1", "Name": "Service 'web' check", "Status": "passing", "Notes": "",
        "Output": "fine", "ServiceID": "web1", "ServiceName": "web", "ServiceTags": ["a", "b"],
        "Definition": DEFINITION, "CreateIndex": 0, "ModifyIndex": 0,
    }  # fmt: skip
    assert asked(line, "Catalog.Register", **node) == {}
    assert asked(line, "Catalog.Register", **{**node, "Service": SERVICE, "Check": check}) == {}
    known = asked(line, "Catalog.NodeServices", Node=name)["NodeServices"]
    assert (known["Node"]["TaggedAddresses"], known["Node"]["Meta"]) == (node["TaggedAddresses"], META)
    assert as_known_to(SERVICE, known["Services"]["web1"]) == without_indexes(SERVICE)
    checks = {each["CheckID"]: each for each in asked(line, "Health.NodeChecks", Node=name)["HealthChecks"]}
    assert set(checks) == {"serfHealth", "service:web1"}
    assert as_known_to(check, checks["service:web1"]) == without_indexes(check)
    where = {"Vec": [0.001] * 8, "Error": 0.5, "Adjustment": 0.0, "Height": 1e-5}
    assert asked(line, "Coordinate.Update", Node=name, Segment="", Coord=where) == {}


def as_known_to(own: Any, answered: Any) -> Any:
    """The answer as an older member reads it: it skips names that it doesn't know."""
    if not isinstance(own, dict) or not isinstance(answered, dict):
        return answered
    return without_indexes({name: as_known_to(own[name], answered[name]) for name in own if name in answered})


def without_indexes(record: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in record.items() if key not in INDEXES}


def reads_and_writes(line: Line, member: ForeignMember) -> None:
    """Use keys, transactions, the status and the list of nodes."""
    entry = {"Key": "abroad", "Value": b"\x00\xff", "Flags": 42}
    assert asked(line, "KVS.Apply", Op="set", DirEnt=entry) is False
    (found,) = asked(line, "KVS.Get", Key="abroad")["Entries"]
    assert (found["Value"], found["Flags"]) == (b"\x00\xff", 42)
    written = asked(line, "Txn.Apply", Ops=[{"KV": {"Verb": "set", "DirEnt": {"Key": "txn", "Value": b"1"}}}])
    assert (len(written["Results"]), written["Errors"]) == (1, None)
    error, leader = line.call("Status.Leader", {})
    assert error == ""
    assert leader in {seen.rpc_address for seen in member.servers()}
    source = {"Datacenter": "dc1", "Segment": "", "Node": "", "Ip": ""}
    nodes = asked(line, "Catalog.ListNodes", NodeMetaFilters=None, Source=source)["Nodes"]
    assert {node["Node"] for node in nodes} == set(member.statuses())


def begins_to_wait(line: Line, key: str) -> None:
    """Send a read that is answered once the key is written."""
    index = asked(line, "KVS.Get", Key=key)["Index"]
    argument = {**OPTIONS, "Key": key, "MinQueryIndex": index, "MaxQueryTime": 60 * SECOND}
    line.write(request_bytes(9, "KVS.Get", argument))
