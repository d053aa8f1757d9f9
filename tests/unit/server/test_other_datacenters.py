"""What another datacenter is to answer is never answered from here."""

from pathlib import Path
from typing import Any

import pytest

from base import codec
from base.errors import Refused
from structs.kv import KVApplyRequest, KVCommand, KVGetReply, KVGetRequest, KVVerb
from structs.query import Consistency, QueryOptions, WriteOptions
from structs.snapshot import SnapshotRestoreRequest
from tests.fakes.server_parts import REMOTE, server_parts

ELSEWHERE = [
    ("KVS.Get", KVGetRequest(key="a", options=QueryOptions(datacenter="dc2", consistency=Consistency.STALE))),
    ("KVS.Get", KVGetRequest(key="a", options=QueryOptions(datacenter="dc2", index_min=5))),
    (
        "KVS.Apply",
        KVApplyRequest(command=KVCommand(verb=KVVerb.SET, key="a"), options=WriteOptions(datacenter="dc2")),
    ),
]


@pytest.mark.parametrize(("method", "request_"), ELSEWHERE)
async def test_calls_for_an_unknown_datacenter_are_refused(tmp_path: Path, method: str, request_: Any) -> None:
    async with server_parts(tmp_path) as server:
        with pytest.raises(Refused, match="No path to datacenter"):
            await server.ask(method, request_)
        reply = server.dispatcher.handle(method, codec.encode(request_), REMOTE)
        assert not isinstance(reply, bytes)
        with pytest.raises(Refused, match="No path to datacenter"):
            await reply
        assert await server.ask("KVS.Get", KVGetRequest(key="a")) == await server.ask(
            "KVS.Get", KVGetRequest(key="a", options=QueryOptions(datacenter="DC1"))
        )
        assert isinstance(await server.ask("KVS.Get", KVGetRequest(key="a")), KVGetReply)


async def test_no_archive_is_restored_that_is_meant_for_another_datacenter(tmp_path: Path) -> None:
    async with server_parts(tmp_path) as server:
        request = SnapshotRestoreRequest(options=WriteOptions(datacenter="dc2"))
        with pytest.raises(Refused, match="No path to datacenter"):
            await server.dispatcher.serve_stream("Snapshot.Restore", codec.encode(request), None, REMOTE)  # type: ignore[arg-type]
        with pytest.raises(Refused, match="No path to datacenter"):
            async with server.delegate.stream("Snapshot.Restore", request) as stream:
                await stream.receive_chunk()
