"""`mesh kv get | put | delete | export | import`. Source: command-line specification, kv."""

import base64
import binascii
import json
from typing import Any

from base.errors import InvalidRequest, MeshError
from mesh.cli.context import Context
from mesh.cli.output import pairs
from structs.kv import KVEntry

OUTCOME_UNKNOWN = "; it may or may not have happened"


def _key(text: str) -> str:
    """Keys never begin with a slash: what a shell user writes as a path is stripped."""
    return text.removeprefix("/")


def _why(error: MeshError) -> str:
    return f"{error}{'' if error.definite else OUTCOME_UNKNOWN}"


def get(context: Context) -> int:
    """Print one value, keys, or a tree."""
    given = context.given
    key = _key(context.argument("KEY")) if given.arguments else ""
    if not key and not (given.switch("keys") or given.switch("recurse")):
        raise InvalidRequest("Missing KEY argument")
    kv, read = context.client.kv, context.read()
    if given.switch("keys"):
        separator = given.text("separator", "/")
        for name in kv.keys(key, separator, read):
            context.output.line(name)
        return 0
    if given.switch("recurse"):
        entries = kv.list(key, read)
        for position, entry in enumerate(entries):
            if given.switch("detailed"):
                _print_detailed(context, entry)
                if position < len(entries) - 1:
                    context.output.line("")
            else:
                context.output.data(entry.key.encode() + b":" + _value(context, entry) + b"\n")
        return 0
    found = kv.get(key, read)
    if found is None:
        context.output.error(f"Error! No key exists at: {key}")
        return 1
    if given.switch("detailed"):
        _print_detailed(context, found)
    else:
        context.output.data(_value(context, found) + b"\n")
    return 0


def _value(context: Context, entry: KVEntry) -> bytes:
    return base64.b64encode(entry.value) if context.given.switch("base64") else entry.value


def _print_detailed(context: Context, entry: KVEntry) -> None:
    lines = pairs(
        [
            ("CreateIndex", str(entry.create_index)),
            ("Flags", str(entry.flags)),
            ("Key", entry.key),
            ("LockIndex", str(entry.lock_index)),
            ("ModifyIndex", str(entry.modify_index)),
            ("Session", entry.session or "-"),
            ("Value", ""),
        ]
    )
    context.output.data("\n".join(lines).encode() + _value(context, entry) + b"\n")


def put(context: Context) -> int:
    """Write one key."""
    given = context.given
    if not given.arguments:
        raise InvalidRequest("Missing KEY argument")
    if len(given.arguments) > 2:
        raise InvalidRequest(f"Too many arguments (expected 1 or 2, got {len(given.arguments)})")
    key = _key(given.arguments[0])
    if not key:
        raise InvalidRequest("Missing KEY argument")
    value = context.content(given.arguments[1]) if len(given.arguments) == 2 else b""
    if given.switch("base64"):
        try:
            value = base64.b64decode(value, validate=True)
        except binascii.Error as error:
            raise InvalidRequest(f"Cannot base 64 decode data: {error}") from error
    session = given.text("session")
    if given.switch("acquire") and given.switch("release"):
        raise InvalidRequest("Cannot specify both -acquire and -release")
    if (given.switch("acquire") or given.switch("release")) and not session:
        raise InvalidRequest("Missing -session (required with -acquire and -release)")
    try:
        return _put(context, key, value, session)
    except MeshError as error:
        context.output.error(f"Error! Failed writing data: {_why(error)}")
        return 1


def _put(context: Context, key: str, value: bytes, session: str) -> int:
    given, kv = context.given, context.client.kv
    flags = given.number("flags")
    if given.switch("cas"):
        done = kv.cas(key, value, given.number("modify-index"), flags=flags)
        failure, success = f"Error! Did not write to {key}: CAS failed", f"Success! Data written to: {key}"
    elif given.switch("acquire"):
        done = kv.acquire(key, value, session, flags=flags)
        failure, success = "Error! Did not acquire lock", f"Success! Lock acquired on: {key}"
    elif given.switch("release"):
        done = kv.release(key, value, session, flags=flags)
        failure, success = "Error! Did not release lock", f"Success! Lock released on: {key}"
    else:
        kv.put(key, value, flags=flags)
        done, failure, success = True, "", f"Success! Data written to: {key}"
    if done:
        context.output.line(success)
        return 0
    context.output.error(failure)
    return 1


def delete(context: Context) -> int:
    """Remove a key or a tree."""
    given = context.given
    recurse, cas, index = given.switch("recurse"), given.switch("cas"), given.number("modify-index")
    if not given.arguments and not recurse:
        raise InvalidRequest("Missing KEY argument")
    key = _key(context.argument("KEY")) if given.arguments else ""
    if not key and not recurse:
        # An empty key is a valid prefix: deleting everything has to be said with -recurse.
        raise InvalidRequest("Missing KEY argument")
    if recurse and cas:
        raise InvalidRequest("Cannot specify both -recurse and -cas")
    if cas and not index:
        raise InvalidRequest("Must specify -modify-index with -cas")
    if index and not cas:
        raise InvalidRequest("Cannot specify -modify-index without -cas")
    kv = context.client.kv
    try:
        if recurse:
            kv.delete_tree(key)
            context.output.line(f"Success! Deleted keys with prefix: {key}")
        elif cas and not kv.delete_cas(key, index):
            context.output.error(f"Error! Did not delete key {key}: CAS failed")
            return 1
        elif cas:
            context.output.line(f"Success! Deleted key: {key}")
        else:
            kv.delete(key)
            context.output.line(f"Success! Deleted key: {key}")
    except MeshError as error:
        context.output.error(f"Error! Did not delete {'prefix' if recurse else 'key'} {key}: {_why(error)}")
        return 1
    return 0


def export(context: Context) -> int:
    """Print a tree as JSON."""
    prefix = _key(context.argument("PREFIX")) if context.given.arguments else ""
    rows = [
        {"key": entry.key, "flags": entry.flags, "value": base64.b64encode(entry.value).decode()}
        for entry in context.client.kv.list(prefix, context.read())
    ]
    text = json.dumps(rows, indent="\t", ensure_ascii=False)
    for character in "<>&\u2028\u2029":  # as the other implementation writes them, so that exports can be compared
        text = text.replace(character, f"\\u{ord(character):04x}")
    context.output.line(text)
    return 0


def import_(context: Context) -> int:
    """Write what `export` printed, in its order."""
    rows = _rows(context.content(context.argument("DATA")))
    prefix = context.given.text("prefix")
    kv = context.client.kv
    with context.output.progress("Importing", len(rows), unit_is_bytes=False, prints_lines=True) as advance:
        for key, flags, value in rows:
            target = _key(prefix + key)
            try:
                kv.put(target, value, flags=flags)
            except MeshError as error:
                context.output.error(f"Error! Failed writing data for key {target}: {_why(error)}")
                return 1
            context.output.line(f"Imported: {target}")
            advance(1)
    return 0


def _rows(data: bytes) -> list[tuple[str, int, bytes]]:
    """Everything is checked before anything is written; raises InvalidRequest."""
    try:
        parsed = json.loads(data)
        rows = [_row(row) for row in parsed]
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise InvalidRequest(f"Cannot unmarshal data: {error!r}") from error
    return rows


def _row(row: dict[str, Any]) -> tuple[str, int, bytes]:
    key, flags = row["key"], row.get("flags", 0)
    if not isinstance(key, str) or not isinstance(flags, int) or not 0 <= flags < 1 << 64:
        raise ValueError(f"not an exported key: {key!r}")
    if not _key(key):
        raise ValueError("a key is empty")
    return key, flags, base64.b64decode(row.get("value") or "", validate=True)
