"""/v1/operator/keyring: the keys of gossip. Source: HTTP API, section 11; modern deltas, section 11."""

from base64 import b64decode
from binascii import Error as Base64Error
from collections.abc import Awaitable

import msgspec

from acl.access import KEYRING_READ, KEYRING_WRITE
from agent.http.asking import tell
from agent.http.errors import multi_error_text
from agent.http.registry import RequestContext, route
from agent.http.response import Response, json_response
from base.errors import InvalidRequest, OutcomeUnknown, Refused
from structs.json_codec import Fields, decode_json
from structs.keyring import RELAY_FACTOR_MAX, KeyringAnswer, KeyringOperation, KeyringReply, KeyringRequest
from structs.query import QueryOptions

SERVERS_ONLY_TEXT = "keyring operations must run against a server node"
KEY_BYTES = (16, 24, 32)
KEY_LENGTH_MAX = 64
"""Characters of base64; 44 are enough for the longest key."""
_OPERATIONS = {"POST": KeyringOperation.INSTALL, "PUT": KeyringOperation.USE, "DELETE": KeyringOperation.REMOVE}


class KeyringJSON(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What one pool said; messages and error are left out where there are none."""

    wan: bool = msgspec.field(name="WAN")
    datacenter: str = msgspec.field(name="Datacenter")
    segment: str = msgspec.field(name="Segment")
    messages: dict[str, str] = msgspec.field(name="Messages", default_factory=dict)
    keys: dict[str, int] = msgspec.field(name="Keys")
    primary_keys: dict[str, int] = msgspec.field(name="PrimaryKeys")
    nodes_count: int = msgspec.field(name="NumNodes")
    error: str = msgspec.field(name="Error", default="")


def answer_json(answer: KeyringAnswer) -> KeyringJSON:
    """Return one pool's answer in its wire shape."""
    return KeyringJSON(
        wan=answer.wan,
        datacenter=answer.datacenter,
        segment=answer.segment,
        messages=answer.messages,
        keys=answer.keys,
        primary_keys=answer.primary_keys,
        nodes_count=answer.nodes_count,
        error=answer.error,
    )


@route("/v1/operator/keyring", "GET", access=KEYRING_READ, is_write=False)
def list_(context: RequestContext) -> Response | Awaitable[Response]:
    """Return which keys are installed on how many nodes: the pool of all servers first, then each datacenter's.

    `relay-factor` (0 to 5): how many nodes each answer is sent through besides. 500 where a pool could not tell.
    """
    return _operate(context, KeyringOperation.LIST, "")


@route("/v1/operator/keyring", "POST", "PUT", "DELETE", access=KEYRING_WRITE, is_write=True)
def change(context: RequestContext) -> Response | Awaitable[Response]:
    """POST installs a key on all nodes, PUT makes an installed one primary, DELETE removes one: `{"Key": "<base64>"}`.

    `relay-factor` as above. 500 where a node has not done it, with what each said; the others may have.
    """
    return _operate(context, _OPERATIONS[context.method], parse_key(context.body))


def parse_key(body: bytes) -> str:
    """Return the key in a body, still in base64; raises InvalidRequest, which never repeats the key."""
    try:
        key = Fields(decode_json(body), "request").text("Key")
    except InvalidRequest as error:
        raise InvalidRequest(f"Request decode failed: {error}") from error
    try:
        raw = b64decode(key, validate=True) if len(key) <= KEY_LENGTH_MAX else b""
    except (Base64Error, ValueError) as error:
        raise InvalidRequest("Bad request: the key is not base64") from error
    if len(raw) not in KEY_BYTES:
        raise InvalidRequest("Bad request: key size must be 16, 24 or 32 bytes")
    return key


def relay_factor_of(text: str) -> int:
    """Return the value of `relay-factor`, "" meaning 0; raises InvalidRequest."""
    if not text:
        return 0
    digits = text.removeprefix("-")
    if not digits.isascii() or not digits.isdecimal() or len(digits) > len(str(1 << 63)):
        raise InvalidRequest(f'Error parsing relay factor: strconv.Atoi: parsing "{text[:32]}": invalid syntax')
    factor = int(text)
    if not 0 <= factor <= RELAY_FACTOR_MAX:
        raise InvalidRequest(f"Invalid relay factor: Relay factor must be in range: [0, {RELAY_FACTOR_MAX}]")
    return factor


def _operate(context: RequestContext, operation: KeyringOperation, key: str) -> Response | Awaitable[Response]:
    if not context.agent.is_server:
        raise Refused(SERVERS_ONLY_TEXT)
    request = KeyringRequest(
        operation=operation,
        key=key,
        relay_factor=relay_factor_of(context.query.get("relay-factor")),
        options=QueryOptions(token=context.write_options().token),
    )

    def finish(reply: KeyringReply) -> Response:
        complaints = _complaints(reply.answers)
        if complaints:
            raise OutcomeUnknown(multi_error_text(complaints))
        if operation is not KeyringOperation.LIST:
            return Response(200)
        return json_response([answer_json(answer) for answer in reply.answers])

    return tell(context, "Internal.KeyringOperation", request, KeyringReply, finish)


def _complaints(answers: list[KeyringAnswer]) -> list[str]:
    found: list[str] = []
    for answer in answers:
        if answer.error:
            pool = "WAN" if answer.wan else f"{answer.datacenter} (LAN)"
            found.append(f"{pool} error: {answer.error}")
            found += [f"{node}: {message}" for node, message in sorted(answer.messages.items())]
    return found
