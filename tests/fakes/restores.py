"""The commands of a restore, made by hand."""

from base.codec import decode, encode
from fsm.commands.registry import RESTORE_BEGIN, RESTORE_CHUNK, RESTORE_COMMIT, encode_command
from fsm.commands.restore import CHAIN_START, chain_next
from fsm.store.kv import encode_body
from structs.archive import RestoreBegin, RestoreChunk, RestoreCommit, RowChunk

ID = "restore-1"


def row(index: int = 1) -> bytes:
    return encode_body(index, index, 0, 0, "", b"value")


def kv_chunk(*keys: str) -> bytes:
    return encode(RowChunk(table=1, keys=[key.encode() for key in keys], bodies=[row()] * len(keys)))


def begin(restore_id: str = ID, index: int = 5) -> bytes:
    return encode_command(RESTORE_BEGIN, RestoreBegin(restore_id=restore_id, index=index))


def chunk(position: int, payload: bytes, restore_id: str = ID) -> bytes:
    return encode_command(RESTORE_CHUNK, RestoreChunk(restore_id=restore_id, position=position, payload=payload))


def commit_of(payloads: list[bytes], restore_id: str = ID) -> bytes:
    chain = CHAIN_START
    for payload in payloads:
        chain = chain_next(chain, payload)
    rows_count = sum(len(decode(RowChunk, payload).keys) for payload in payloads)
    return encode_command(
        RESTORE_COMMIT,
        RestoreCommit(restore_id=restore_id, chunks_count=len(payloads), rows_count=rows_count, chain=chain),
    )
