"""COMMANDS: every number that may stand at the head of a logged command. Numbers are never reused.

A command is one byte (its number) and the encoded record. Source: state store specification, section 7, whose numbers
are kept where a command means the same; numbers from 64 on are ours.

A number that this version doesn't know stops the server: skipping it would make its state differ from the others'.
A newer version may set bit 128 on commands which older servers may skip without harm.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

from base.codec import Record, decode, encode
from base.errors import InvalidRequest, InvariantBroken
from fsm.commands import autopilot, catalog, coordinate, kv, prepared_query, restore, session, tombstone, txn
from fsm.commands.refusal import Refusal
from fsm.store.store import Batch
from structs.archive import RestoreAbort, RestoreBegin, RestoreChunk, RestoreCommit
from structs.autopilot import AutopilotCommand
from structs.catalog import DeregisterCommand, RegisterCommand
from structs.coordinate import CoordinateBatch
from structs.kv import KVCommand, TombstoneCommand
from structs.prepared_query import PreparedQueryCommand
from structs.session import SessionCommand
from structs.txn import TxnCommand

REGISTER = 0
DEREGISTER = 1
KVS = 2
SESSION = 3
TOMBSTONE = 5
COORDINATES = 6
PREPARED_QUERY = 7
TXN = 8
AUTOPILOT = 9
RESTORE_BEGIN = 64
RESTORE_CHUNK = 65
RESTORE_COMMIT = 66
RESTORE_ABORT = 67
IGNORABLE = 128
"""This bit allows a server that doesn't know the number to skip the command."""

__all__ = ["COMMANDS", "Refusal", "apply_command", "encode_command"]

Handler = Callable[[Batch, Any], object]


class Command(NamedTuple):
    """One row of the registry."""

    number: int
    name: str
    kind: type[Record]
    handler: Handler
    """Never raises for what a user can cause: it returns a Refusal."""
    ignorable: bool = False
    """Logged with IGNORABLE set: nothing else depends on what it writes."""


def _registry(*rows: Command) -> dict[int, Command]:
    commands: dict[int, Command] = {}
    for row in rows:
        if row.number in commands or not 0 <= row.number < IGNORABLE:
            raise InvariantBroken(f"command number {row.number} of {row.name} is taken or out of range")
        commands[row.number] = row
    return commands


COMMANDS = _registry(
    Command(REGISTER, "register", RegisterCommand, catalog.register),
    Command(DEREGISTER, "deregister", DeregisterCommand, catalog.deregister),
    Command(KVS, "kvs", KVCommand, kv.apply),
    Command(SESSION, "session", SessionCommand, session.apply),
    Command(TOMBSTONE, "tombstone", TombstoneCommand, tombstone.apply),
    Command(COORDINATES, "coordinates", CoordinateBatch, coordinate.apply, ignorable=True),
    Command(PREPARED_QUERY, "prepared-query", PreparedQueryCommand, prepared_query.apply),
    Command(TXN, "txn", TxnCommand, txn.apply),
    Command(AUTOPILOT, "autopilot", AutopilotCommand, autopilot.apply),
    Command(RESTORE_BEGIN, "restore-begin", RestoreBegin, restore.begin),
    Command(RESTORE_CHUNK, "restore-chunk", RestoreChunk, restore.chunk),
    Command(RESTORE_COMMIT, "restore-commit", RestoreCommit, restore.commit),
    Command(RESTORE_ABORT, "restore-abort", RestoreAbort, restore.abort),
)


def encode_command(number: int, record: Record) -> bytes:
    """Return the bytes to be logged; `record` is of the kind that the registry has for `number`."""
    command = COMMANDS[number]
    assert type(record) is command.kind, f"{command.name} takes {command.kind.__name__}"
    return bytes((number | IGNORABLE if command.ignorable else number,)) + encode(record)


def apply_command(batch: Batch, data: bytes) -> object:
    """Apply one logged command; raises InvariantBroken if this version can't read it."""
    if not data:
        raise InvariantBroken(f"the log entry {batch.raft_index} holds an empty command")
    number = data[0]
    command = COMMANDS.get(number & ~IGNORABLE)
    if command is None:
        if number & IGNORABLE:
            return None
        raise InvariantBroken(
            f"the log entry {batch.raft_index} holds command number {number}, which this version doesn't know: "
            "it was written by a newer version; install that version on this server"
        )
    try:
        record = decode(command.kind, memoryview(data)[1:])
    except InvalidRequest as error:
        raise InvariantBroken(f"the log entry {batch.raft_index} ({command.name}) cannot be read: {error}") from error
    return command.handler(batch, record)
