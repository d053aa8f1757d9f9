"""What the OpenAPI description allows, and worse, sent to a real server: it answers everything, and stays.

Requests are made by schemathesis from docs/api/openapi.json, so a route that is described is tested. Some are spoilt
afterwards. `MESH_HYPOTHESIS=explore` sends many more with fresh seeds. Checks that are registered on the way reach the
server itself at most.
"""

import json
import os
from collections.abc import Iterator
from http.client import HTTPConnection
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode

import pytest
import schemathesis
import trio
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from schemathesis.core import NotSet
from schemathesis.core.result import Ok

from jepsen.cluster import Cluster, Node
from tests.meta.sources import ROOT

DESCRIPTION = json.loads((ROOT / "docs" / "api" / "openapi.json").read_text(encoding="utf-8"))
PATIENCE_S = 30.0
EXAMPLES = 15 if os.environ.get("MESH_HYPOTHESIS", "suite") == "suite" else 500
EXAMPLES_ALIKE = 2
"""For paths under /v1/acl, which one function answers."""
WAIT = "20ms"
"""What blocking queries wait here: a random index is nearly always in the future."""
LEFT_OUT = {
    "PUT /v1/agent/leave": "ends the process",
    "PUT /v1/agent/force-leave/{node}": "asks the cluster about members for a second each",
    "PUT /v1/agent/join/{address}": "resolves names in somebody's network",
    "GET /v1/agent/monitor": "has no end",
    "GET /v1/agent/metrics/stream": "has no end",
    "PUT /v1/snapshot": "replaces the state that the others are asked about",
}
OF_AGENTS = ("differs only by case from", "this agent has ")
ALLOWED_500: dict[str, tuple[str, ...]] = {
    "": ("No path to datacenter",),
    "/v1/agent/check/deregister/": ("CheckID missing",),
    "/v1/agent/check/register": (*OF_AGENTS, "does not exist"),
    "/v1/agent/service/register": OF_AGENTS,
    "/v1/catalog/deregister": ("Must provide node",),
    "/v1/catalog/register": (
        "Must provide ", "Bad node ID", "Invalid service address", "does not match node", "failed inserting ",
        "occurred:", "must be greater ", "DNS Weight must be ", "Node metadata cannot",
        "Couldn't load metadata pair",
    ),
    "/v1/coordinate/update": ("invalid coordinate", "incompatible coordinate"),
    "/v1/event/fire/": (
        "Cannot provide tag filter without service filter", "user event exceeds limit", "Invalid node filter",
        "Invalid service filter", "Invalid tag filter",
    ),
    "/v1/kv/": ("missing session", "invalid session", "strconv.ParseUint"),
    "/v1/operator/keyring": ("Keyring is empty",),
    "/v1/operator/raft/peer": ("not found in the Raft configuration",),
    "/v1/operator/raft/transfer-leader": ("no other server is connected", "not found in the Raft configuration"),
    "/v1/query": (
        "ID must be empty when creating", "Invalid prepared query: ", "Bad Template.Type", "Bad Regexp", "Bad format ",
        "Cannot modify non-existent", "aliases an existing", "with an empty name already exists",
        "invalid session", "Bad limit: ", "Error parsing 'connect'",
    ),
    "/v1/session/create": (
        "Invalid Session TTL", "Session TTL '", "Invalid Behavior", "Missing node registration", "Missing check '",
        "is in critical state", "Invalid LockDelay",
    ),
}  # fmt: skip
"""Beginning of a path -> what a 500 there may say: refusals that Consul answers so."""
OF_SPOILT = (301, 400, 404, 413, 414, 431)
"""What may besides come of a request that is not as described."""
NEVER_SHOWN = (b"Traceback", b'File "', b"Error(", b"Internal server error", b"msgspec", b".py")
NAMES = st.sampled_from(
    ["a", "web", "vm", "server1", "critical", "any", "..", "a/b", "%", "\u00e9", "x" * 2000, "a/execute", "q/explain",
     "serfHealth", "a\r\nB: c", "00000000-0000-4000-8000-000000000000"]
)  # fmt: skip
VALUES = st.sampled_from(["", "0", "-1", "1e9", str(1 << 64), "true", "'", '"', "\u0000", "x" * 3000, "10s", "_agent"])
BODIES = st.sampled_from(
    [
        b"", b"null", b"[]", b"{}", b'""', b"0", b"{", b"[[[[" * 2000, b'{"a":' * 3000, b"\xff\xfe", b'{"Key":"\xff"}',
        b'{"Node":1,"Address":[],"Service":"x","Check":{}}', b'[{"KV":null}]', b'{"ID":null,"Name":null,"TTL":5}',
        b'{"TTL":"-1s","LockDelay":1e300}', b'{"LockDelay":1e999}', b'{"LockDelay":-0.5,"Node":"a"}', b"1e999",
        b'{"Name":"a","TTL":"10s","ID":"a\\r\\nB: c"}', b'{"Name":"a","Check":[],"Checks":{}}',
        b'{"Name":"q","Service":{"Service":"web"}}', b'{"Service":{"Failover":[]},"Template":{"Regexp":"("}}',
        b'{"Name":"t","Template":{"Type":"name_prefix_match","Regexp":"(a*)*$"},"Service":{"Service":"${match(1)}"}}',
        b'{"Node":"n","Address":"127.0.0.1","Service":{"Service":"web"},"Checks":[{"Name":"c","Status":"passing"}]}',
        b'[{"Node":{"Verb":"set","Node":{}}},{"Service":{"Verb":"get"}},{"Check":{"Verb":"cas","Check":{}}}]',
        b'{"Key":"' + b"k" * 70_000 + b'"}', b"[" + b"{}," * 64 + b"{}]",
    ]
)  # fmt: skip


class Subject:
    """The server, asked over one connection for as long as it stays open."""

    def __init__(self, node: Node) -> None:
        self.node = node
        self.dialled = {"http": f"http://{node.http_address}/v1/status/leader"} | dict.fromkeys(
            ("tcp", "udp", "grpc", "h2ping"), node.http_address
        )
        """What checks that are registered here talk to."""
        host, _, port = node.http_address.rpartition(":")
        self._connection = HTTPConnection(host, int(port), timeout=PATIENCE_S)

    def ask(self, method: str, target: str, body: bytes | None) -> tuple[int, dict[str, str], bytes]:
        """Send a request and return status, headers in lower case, and body."""
        self._connection.request(method, target, body=body)
        answer = self._connection.getresponse()
        received = answer.read()
        headers = {name.lower(): value for name, value in answer.getheaders()}
        if headers.get("connection") == "close":
            self._connection.close()
        return answer.status, headers, received

    def close(self) -> None:
        """Hang up."""
        self._connection.close()


@pytest.fixture(scope="module")
def subject(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Subject]:
    """One server of its own, with something in it."""
    cluster = Cluster(tmp_path_factory.mktemp("fuzz"), servers=1, agents=0)
    try:
        cluster.start()
        trio.run(cluster.wait_ready)
        made = Subject(cluster.servers[0])
        made.ask("PUT", "/v1/kv/a", b"1")
        yield made
        made.close()
    finally:
        cluster.close()


def operations() -> list[Any]:
    schema = schemathesis.openapi.from_dict(DESCRIPTION)
    return [found.ok() for found in schema.get_all_operations() if isinstance(found, Ok)]


def name_of(operation: Any) -> str:
    return f"{operation.method.upper()} {operation.path}"


OPERATIONS = [operation for operation in operations() if name_of(operation) not in LEFT_OUT]


def allowed_500(path: str, text: str) -> bool:
    return text == "" or any(
        part in text for start, parts in ALLOWED_500.items() if path.startswith(start) for part in parts
    )


@st.composite
def spoilt(draw: st.DrawFn, operation: Any) -> tuple[str, str, bytes | None]:
    """Method, target and body of a request: as described, or with something else in one place or another."""
    case = draw(operation.as_strategy())
    path = case.formatted_path
    if "{" in operation.path and draw(st.booleans()):
        path = operation.path.partition("{")[0] + quote(draw(NAMES), safe="/")
    query = dict(case.query or {})
    for name in ("dc", "ns", "partition"):  # any value but one is refused at once, which hides the rest
        if draw(st.integers(0, 9)):
            query.pop(name, None)
    if "index" in query:
        query["wait"] = WAIT
    for name in [name for name in query if name != "wait"]:
        if not draw(st.integers(0, 3)):
            query[name] = draw(VALUES)
    body = None if isinstance(case.body, NotSet) else _bytes_of(case.body)
    if case.method.upper() in ("PUT", "POST", "DELETE") and not draw(st.integers(0, 2)):
        body = draw(BODIES)
    text = urlencode(query, doseq=True, errors="surrogatepass")
    return case.method.upper(), f"{path}?{text}" if text else path, body


def _bytes_of(body: Any) -> bytes:
    if isinstance(body, bytes):
        return body
    if isinstance(body, str):
        return body.encode("utf-8", "surrogatepass")
    return json.dumps(body).encode()


def at_home(body: bytes | None, dialled: dict[str, str]) -> bytes | None:
    """Return the body with all that a check would dial replaced by what may be dialled."""
    try:
        value = json.loads(body or b"")
    except (ValueError, RecursionError):
        return body
    changed = _at_home(value, dialled)
    return body if changed == value else json.dumps(changed).encode()


def _at_home(value: Any, dialled: dict[str, str]) -> Any:
    if isinstance(value, list):
        return [_at_home(item, dialled) for item in value]
    if not isinstance(value, dict):
        return value
    return {
        name: dialled[name.lower()] if isinstance(item, str) and item and name.lower() in dialled
        else _at_home(item, dialled)
        for name, item in value.items()
    }  # fmt: skip


@pytest.mark.parametrize("operation", OPERATIONS, ids=name_of)
def test_whatever_is_asked_is_answered(operation: Any, subject: Subject) -> None:
    alike = operation.path.startswith("/v1/acl/")
    described = DESCRIPTION["paths"][operation.path][operation.method]["responses"]

    @settings(
        max_examples=EXAMPLES_ALIKE if alike else EXAMPLES, database=None, suppress_health_check=list(HealthCheck)
    )
    @given(spoilt(operation))
    def try_one(asked: tuple[str, str, bytes | None]) -> None:
        method, target, body = asked
        body = at_home(body, subject.dialled)
        status, headers, received = subject.ask(method, target, body)
        text = received.decode("utf-8", "replace")
        assert str(status) in described or status in OF_SPOILT, (status, text)
        if status >= 500:
            assert status == 500 or str(status) in described, (status, text)
            assert status != 500 or allowed_500(operation.path, text), text
        assert "b" not in headers, "a name has brought a header of its own"
        if received:
            assert "content-type" in headers, text
        if status >= 400:
            assert not any(part in received for part in NEVER_SHOWN), text
            assert headers.get("content-type", "text/plain").startswith(("text/plain", "application/json"))
        elif headers.get("content-type", "").startswith("application/json"):
            json.loads(received)

    try_one()


def test_the_server_is_still_there_and_met_no_defect(subject: Subject) -> None:
    """Runs last in this file, as it is written last."""
    assert subject.node.running
    status, _, body = subject.ask("GET", "/v1/status/leader", None)
    assert (status, json.loads(body)) == (200, subject.node.rpc_address)
    status, _, _ = subject.ask("PUT", "/v1/kv/after", b"1")
    assert status == 200
    assert "a handler failed" not in subject.node.log_text()


def test_what_is_left_out_exists() -> None:
    assert set(LEFT_OUT) <= {name_of(operation) for operation in operations()}


def test_the_description_is_where_programs_look_for_it() -> None:
    assert Path(ROOT / "docs" / "api" / "openapi.json").is_file()
    assert DESCRIPTION["openapi"] == "3.1.0"
