"""Sans-IO. Second ways to find rows: entries that follow from rows of tables, kept up to date by `Batch.write`.

All entries of a generation stand in one pair of databases. Their keys are `mark, value, 00, key of the row`, their
rows are empty. They are no part of digests and archives, since they can be made again from the rows.

| mark | finds     | by                                                                                            |
| ---- | --------- | --------------------------------------------------------------------------------------------- |
| `i`  | nodes     | id without dashes, lower case                                                                 |
| `n`  | services  | name, lower case                                                                              |
| `c`  | services  | whom connections through them reach: destination of a proxy, own name where native            |
| `o`  | checks    | node and service id ("" for checks of the node), lower case                                   |
| `s`  | checks    | status, case kept                                                                             |
| `v`  | checks    | name of the service, lower case                                                               |
| `d`  | sessions  | node, lower case                                                                              |
| `h`  | sessions  | node and id of each of its checks, lower case                                                 |
| `k`  | kvs       | id of the session that holds the key, lower case                                              |

Few keys are locked, so those who write `kvs` see to the entries of mark `k` themselves (`Table.entries_rare`): a plain
write pays nothing for them.
| `q`  | queries   | name, lower case                                                                              |
| `t`  | queries   | name of a template, lower case, "" too                                                        |
| `x`  | queries   | session that they go with                                                                     |
"""

from base.codec import decode
from fsm.store.names import JOINT_BYTES, escaped, key
from structs.catalog import CONNECT_PROXY, HealthCheck, Node, NodeService
from structs.prepared_query import PreparedQuery
from structs.session import Session

NODES_BY_ID = b"i"
SERVICES_BY_NAME = b"n"
SERVICES_BY_DESTINATION = b"c"
CHECKS_BY_OWNER = b"o"
CHECKS_BY_STATUS = b"s"
CHECKS_BY_SERVICE = b"v"
SESSIONS_BY_NODE = b"d"
SESSIONS_BY_CHECK = b"h"
KEYS_BY_SESSION = b"k"
QUERIES_BY_NAME = b"q"
TEMPLATES_BY_NAME = b"t"
QUERIES_BY_SESSION = b"x"


def by_id(node_id: str) -> bytes:
    """Return the value under which a node with this id, or with an id that begins so, is found."""
    return key(node_id.replace("-", ""))


def by_status(status: str) -> bytes:
    """Return the value under which checks of this status are found."""
    return escaped(status).encode(errors="surrogatepass")


def row_key(entry: bytes) -> bytes:
    """Return the key of the row that an entry leads to, where the value in it is one name."""
    return entry[entry.index(JOINT_BYTES) + 1 :]


def of_node(row_key: bytes, body: bytes) -> list[bytes]:
    """Return the entries of a row of `nodes`."""
    node_id = decode(Node, body).node_id
    return [NODES_BY_ID + by_id(node_id) + JOINT_BYTES + row_key] if node_id else []


def of_service(row_key: bytes, body: bytes) -> list[bytes]:
    """Return the entries of a row of `services`."""
    service = decode(NodeService, body)
    tail = JOINT_BYTES + row_key
    entries = [SERVICES_BY_NAME + key(service.service) + tail]
    if service.kind == CONNECT_PROXY:
        entries.append(SERVICES_BY_DESTINATION + key(service.proxy_destination) + tail)
    elif service.connect.native:
        entries.append(SERVICES_BY_DESTINATION + key(service.service) + tail)
    return entries


def of_check(row_key: bytes, body: bytes) -> list[bytes]:
    """Return the entries of a row of `checks`."""
    check = decode(HealthCheck, body)
    tail = JOINT_BYTES + row_key
    node_key = row_key[: row_key.index(JOINT_BYTES)]
    entries = [
        CHECKS_BY_OWNER + node_key + JOINT_BYTES + key(check.service_id) + tail,
        CHECKS_BY_STATUS + by_status(check.status) + tail,
    ]
    if check.service_name:
        entries.append(CHECKS_BY_SERVICE + key(check.service_name) + tail)
    return entries


def of_session(row_key: bytes, body: bytes) -> list[bytes]:
    """Return the entries of a row of `sessions`."""
    session = decode(Session, body)
    tail = JOINT_BYTES + row_key
    entries = [SESSIONS_BY_NODE + key(session.node) + tail]
    checks = dict.fromkeys(key(session.node, check_id) for check_id in session.check_ids)
    entries += [SESSIONS_BY_CHECK + check_key + tail for check_key in checks]
    return entries


def of_held_key(session_id: str, row_key: bytes) -> bytes:
    """Return the entry of a row of `kvs` that a session holds."""
    return KEYS_BY_SESSION + key(session_id) + JOINT_BYTES + row_key


def of_prepared_query(row_key: bytes, body: bytes) -> list[bytes]:
    """Return the entries of a row of `prepared-queries`."""
    query = decode(PreparedQuery, body)
    tail = JOINT_BYTES + row_key
    entries = [QUERIES_BY_NAME + key(query.name) + tail] if query.name else []
    if query.is_template:
        entries.append(TEMPLATES_BY_NAME + key(query.name) + tail)
    if query.session:
        entries.append(QUERIES_BY_SESSION + key(query.session) + tail)
    return entries
