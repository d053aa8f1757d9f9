"""Outage recovery: a configuration written by hand into DATA/raft/peers.json replaces the one in the log.

Source: servers specification, section 9. At a server's first start `peers.info` is made, and a peers.json that is there
already is removed, for it belongs to an earlier life of the folder. At any later start a peers.json is read strictly,
turned into `configuration-override.json` durably, and removed. All servers must be stopped meanwhile and get the same
file: nothing else keeps two halves of a group from electing a leader each.

The override says which configuration holds behind `after_index`, whatever the log says up to there.
"""

import json
import uuid
from pathlib import PurePath
from typing import Any

from base.codec import Record
from base.disk import Disk, write_atomically
from base.errors import ConfigInvalid, DataDamaged
from base.failpoints import failpoint
from server.raft.journal_replay import STARTED_MARKER
from structs.cluster import Peer

PEERS_NAME = "peers.json"
OVERRIDE_NAME = "configuration-override.json"
PEERS_COUNT_MAX = 64
"""Far above any quorum that makes sense."""
MARKER_TEXT = """\
This server has been started. If a majority of the servers is lost for good, stop all that remain, write the same
peers.json beside this file on each of them, and start them:

[
  {"id": "adf4238a-882b-9ddc-4a9d-5b6758e4159e", "address": "10.1.0.1:8300", "non_voter": false}
]

The id is the content of the file node-id in the data directory. The file is removed once it has been taken over.
"""


class ConfigurationOverride(Record, frozen=True, kw_only=True):
    """The group as peers.json says it is, for all that the log says up to and including `after_index`."""

    after_index: int
    peers: list[Peer]


class Recovery(Record, frozen=True, kw_only=True):
    """What `recover` found. `notes` are for the log, one line each."""

    override: ConfigurationOverride | None
    notes: list[str]


def recover(disk: Disk, folder: PurePath, *, log_last_index: int) -> Recovery:
    """Take over a peers.json in the raft folder if there is one, and return the override in force, if any.

    To be called at each start, after the journal was opened and before the core is built. Raises ConfigInvalid for a
    peers.json that cannot be used (it stays), DataDamaged, DiskFailed.
    """
    notes: list[str] = []
    peers_path = folder / PEERS_NAME
    if not disk.exists(folder / STARTED_MARKER):
        if disk.exists(peers_path):
            notes.append(f"removed {peers_path}: this is the first start here, so it belongs to an earlier life")
            _remove(disk, peers_path)
        write_atomically(disk, folder / STARTED_MARKER, MARKER_TEXT.encode())
    elif disk.exists(peers_path):
        override = ConfigurationOverride(after_index=log_last_index, peers=_read_peers_file(disk, peers_path))
        write_atomically(disk, folder / OVERRIDE_NAME, _encode(override))
        failpoint("recovery.after_override")
        _remove(disk, peers_path)
        names = ", ".join(f"{peer.server_id} at {peer.address}" for peer in override.peers)
        notes.append(f"took the configuration from {peers_path}, behind index {log_last_index}: {names}")
    path = folder / OVERRIDE_NAME
    return Recovery(override=_decode(disk.read(path), path) if disk.exists(path) else None, notes=notes)


def read_peers_json(text: str, place: str = PEERS_NAME) -> list[Peer]:
    """Return the servers that a peers.json names; raises ConfigInvalid naming the place in it.

    Each is an object with "id" (the UUID in the server's file node-id), "address" (host:port of its RPC port), and,
    if wanted, "non_voter" (only false is supported) and "name". Anything else is refused.
    """
    try:
        rows = json.loads(text, object_pairs_hook=_without_duplicates)
    except (ValueError, RecursionError) as error:
        raise ConfigInvalid(f"{place}: not valid JSON: {error}") from error
    if not isinstance(rows, list) or not rows:
        raise ConfigInvalid(f"{place}: a list of at least one server is needed")
    if len(rows) > PEERS_COUNT_MAX:
        raise ConfigInvalid(f"{place}: {len(rows)} servers are more than {PEERS_COUNT_MAX}")
    peers = [_read_row(row, f"{place}, server {position}") for position, row in enumerate(rows, start=1)]
    for position, peer in enumerate(peers, start=1):
        for other in peers[: position - 1]:
            if peer.server_id == other.server_id:
                raise ConfigInvalid(f"{place}, server {position}: id {peer.server_id} appears twice")
            if peer.address == other.address:
                raise ConfigInvalid(f"{place}, server {position}: address {peer.address} appears twice")
    return peers


def _read_row(row: Any, place: str) -> Peer:
    if not isinstance(row, dict):
        raise ConfigInvalid(f"{place}: an object with id and address is needed")
    unknown = sorted(set(row) - {"id", "address", "non_voter", "name"})
    if unknown:
        raise ConfigInvalid(f"{place}: unknown field {unknown[0]!r}")
    if row.get("non_voter", False) is not False:
        raise ConfigInvalid(f"{place}: non_voter: servers without a vote are not supported")
    name = row.get("name", "")
    if not isinstance(name, str):
        raise ConfigInvalid(f"{place}: name must be a text")
    server_id = _read_id(row.get("id"), f"{place}: id")
    return Peer(server_id=server_id, name=name or server_id, address=_read_address(row.get("address"), place))


def _read_id(value: Any, place: str) -> str:
    try:
        if isinstance(value, str) and str(uuid.UUID(value)) == value.lower():
            return value.lower()
    except ValueError:
        pass  # the message below says it
    raise ConfigInvalid(f"{place}: {value!r} is not a UUID")


def _read_address(value: Any, place: str) -> str:
    if isinstance(value, str):
        host, _, port = value.rpartition(":")
        bare = host[1:-1] if host.startswith("[") and host.endswith("]") else host.replace(":", " ")
        if bare and " " not in bare and port.isascii() and port.isdecimal() and 0 < int(port) < 65536:
            return value
    raise ConfigInvalid(f"{place}: address: {value!r} is not host:port")


def _without_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    row = dict(pairs)
    if len(row) != len(pairs):
        raise ValueError("a field appears twice in one object")
    return row


def _read_peers_file(disk: Disk, path: PurePath) -> list[Peer]:
    try:
        return read_peers_json(disk.read(path).decode(), str(path))
    except UnicodeDecodeError as error:
        raise ConfigInvalid(f"{path}: not UTF-8 text") from error


def _remove(disk: Disk, path: PurePath) -> None:
    disk.unlink(path)
    disk.sync_folder(path.parent)


def _encode(override: ConfigurationOverride) -> bytes:
    rows = [{"id": peer.server_id, "name": peer.name, "address": peer.address} for peer in override.peers]
    return (json.dumps({"after_index": override.after_index, "peers": rows}, indent=2) + "\n").encode()


def _decode(data: bytes, path: PurePath) -> ConfigurationOverride:
    try:
        body = json.loads(data)
        peers = [Peer(server_id=row["id"], name=row["name"], address=row["address"]) for row in body["peers"]]
        return ConfigurationOverride(after_index=int(body["after_index"]), peers=peers)
    except (ValueError, KeyError, TypeError) as error:
        raise DataDamaged(f"{path}: unreadable: {error}; write peers.json again to replace it") from error
