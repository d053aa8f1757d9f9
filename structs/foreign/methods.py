"""Sans-IO: all foreign methods, and the two directions of a call: theirs to our servers, ours to their servers."""

from typing import Any, Final

from msgspec.structs import replace

from base import codec
from base.errors import InvalidRequest, Refused
from structs.foreign import (
    catalog,
    coordinate,
    event,
    health,
    internal,
    keyring,
    kv,
    operator,
    prepared_query,
    session,
    status,
    txn,
)
from structs.foreign.row import ForeignMethod

ROWS: Final = (
    *status.ROWS,
    *kv.ROWS,
    *txn.ROWS,
    *catalog.ROWS,
    *coordinate.ROWS,
    *operator.ROWS,
    *event.ROWS,
    *keyring.ROWS,
    *health.ROWS,
    *internal.ROWS,
    *prepared_query.ROWS,
    *session.ROWS,
)
FOREIGN_METHODS: Final = {row.name: row for row in ROWS}
"""By their name."""
SERVICES: Final = frozenset(row.name.partition(".")[0] for row in ROWS)
_BY_OURS: Final[dict[str, list[ForeignMethod]]] = {}
for _row in (*ROWS, *internal.ASKED):
    _BY_OURS.setdefault(_row.method, []).append(_row)
assert len(FOREIGN_METHODS) == len(ROWS)


# Their calls -------------------------------------------------------------------------------------------------------


def foreign_method_named(name: str) -> ForeignMethod:
    """Return the row of a method that a foreign member calls; raises Refused with the text it knows."""
    row = FOREIGN_METHODS.get(name)
    if row is not None:
        return row
    service, dot, _ = name.rpartition(".")
    if not dot:
        raise Refused(f"rpc: service/method request ill-formed: {name}")
    if service not in SERVICES:
        raise Refused(f"rpc: can't find service {name}")
    raise Refused(f"rpc: can't find method {name}")


def encode_reply(row: ForeignMethod, reply: Any, request: Any) -> bytes:
    """Return the packed body that answers a foreign call."""
    shape = row.reply
    said = row.says(reply, request)
    return codec.pack_old(shape.encode(said) if shape.encode is not None else said)


# Our calls ---------------------------------------------------------------------------------------------------------


class Translated:
    """One of our calls as a foreign server takes it; knows how to read the answer."""

    __slots__ = ("_request", "_row", "argument", "name", "wait_s")

    def __init__(self, row: ForeignMethod, request: Any, argument: Any, wait_s: float) -> None:
        self._row = row
        self._request = request
        self.name = row.name
        self.argument = argument
        self.wait_s = wait_s
        """How long the server was asked to block at most; 0 if it was not."""

    def reply(self, value: Any) -> bytes:
        """Return the answer as our encoded record; raises InvalidRequest if it is not what the method answers."""
        row = self._row
        reply = row.hears(row.reply.decode(value), self._request)
        meta, options = getattr(reply, "meta", None), getattr(self._request, "options", None)
        consistency = getattr(options, "consistency", None)
        if meta is not None and consistency is not None and meta.consistency is not consistency:
            # Foreign servers do not say what they used; it is what they were asked for.
            reply = replace(reply, meta=replace(meta, consistency=consistency))
        return codec.encode(reply)


def unknown_there(method: str) -> Refused:
    """Return the error of a call or stream of ours that foreign servers do not have, or that is not carried to them."""
    return Refused(
        f"rpc: can't find method {method}: the server is of another system, which does not take this from agents of "
        "mesh; ask it by its own HTTP API"
    )


def translate(method: str, body: bytes, *, datacenter: str) -> Translated:
    """Return our call of `method` with an encoded request as a foreign one; a request without datacenter gets ours.

    Raises Refused where foreign servers have no such method, InvalidRequest where the body is not its request.
    """
    rows = _BY_OURS.get(method)
    if not rows:
        raise unknown_there(method)
    request = codec.decode(rows[0].request.record, body)
    row = next((row for row in rows if row.fits(request)), None)
    if row is None:
        raise InvalidRequest(f"{method}: no foreign method takes this request")
    argument = row.request.encode(request)
    if row.has_datacenter and not argument.get("Datacenter"):
        argument["Datacenter"] = datacenter
    options = getattr(request, "options", None)
    blocks = getattr(options, "index_min", 0) > 0
    return Translated(row, request, argument, (getattr(options, "wait_s", 0.0) or WAIT_S_DEFAULT) if blocks else 0.0)


WAIT_S_DEFAULT: Final = 300.0
"""What a server waits that is not told how long."""
