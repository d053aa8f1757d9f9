"""Whoever may speak in the WAN pool can say that a datacenter lives at our own address: no call may travel in circles.

Weakness class: forwarding by what others say, without an end.
"""

from pathlib import Path
from typing import Any

import pytest
import trio

from agent.wires import Wires
from base import codec
from base.errors import Refused
from server.dispatch import split_mark
from server.server import _server_only
from structs.keyring import KeyringOperation, KeyringRequest
from structs.kv import KVApplyRequest, KVCommand, KVGetRequest, KVVerb
from structs.query import FROM_ELSEWHERE_MARK, QueryOptions, WriteOptions
from structs.snapshot import SnapshotSaveRequest
from tests.fakes.members import FOREIGN_BUILD, server
from tests.fakes.server_parts import REMOTE, server_parts

CALLS = [
    ("KVS.Get", KVGetRequest(key="a", options=QueryOptions(datacenter="dc9"))),
    (
        "KVS.Apply",
        KVApplyRequest(command=KVCommand(verb=KVVerb.SET, key="a"), options=WriteOptions(datacenter="dc9")),
    ),
]


@pytest.mark.parametrize(("method", "request_"), CALLS)
async def test_a_call_for_a_datacenter_that_points_to_ourselves_goes_round_once(
    tmp_path: Path, method: str, request_: Any
) -> None:
    async with server_parts(tmp_path) as parts:
        parts.router.update([server("liar.dc9", dc="dc9", address="10.0.0.1")])
        with pytest.raises(Refused, match="No path to datacenter"):
            await parts.ask(method, request_)
    assert parts.pool.calls == [("10.0.0.1:8300", FROM_ELSEWHERE_MARK + method)]


async def test_two_servers_that_take_each_other_for_it_do_not_play_ball(tmp_path: Path) -> None:
    async with server_parts(tmp_path) as one, server_parts(tmp_path, 2, pool=one.pool) as other:
        one.router.update([server("liar.dc9", dc="dc9", address="10.0.0.2")])
        other.router.update([server("liar.dc9", dc="dc9", address="10.0.0.1")])
        with pytest.raises(Refused, match="No path to datacenter"):
            await one.ask(*CALLS[0])
    assert len(one.pool.calls) == 1


async def test_a_key_operation_that_comes_back_to_us_is_done_once(tmp_path: Path) -> None:
    async with server_parts(tmp_path) as parts:
        parts.router.update([server("liar.dc9", dc="dc9", address="10.0.0.1")])
        reply = await parts.ask("Internal.KeyringOperation", KeyringRequest(operation=KeyringOperation.LIST))
    assert [(answer.datacenter, answer.error) for answer in reply.answers] == [
        ("dc1", ""),
        ("dc9", "No path to datacenter"),
    ]


async def test_streams_from_elsewhere_are_for_us_or_for_nobody(tmp_path: Path) -> None:
    async with server_parts(tmp_path) as parts:
        parts.router.update([server("liar.dc9", dc="dc9", address="10.0.0.1")])
        request = codec.encode(SnapshotSaveRequest(options=QueryOptions(datacenter="dc9")))
        with pytest.raises(Refused, match="No path to datacenter"), trio.fail_after(5):
            await parts.dispatcher.serve_stream("@Snapshot.Save", request, None, REMOTE)  # type: ignore[arg-type]


def test_a_mark_opens_nothing_that_is_for_servers_only() -> None:
    closed = _server_only()
    assert "Cluster.Hello" in closed
    assert {split_mark(name)[1] for name in closed} <= closed
    assert all(mark + name in closed for mark in (">", "@") for name in (split_mark(each)[1] for each in closed))


async def test_foreign_servers_are_not_shown_the_mark() -> None:
    class Foreign:
        async def call(self, address: str, method: str, argument: Any, *, timeout_s: float) -> Any:
            await trio.lowlevel.checkpoint()
            assert method == "KVS.Get"
            return {"Entries": None, "Index": 7}

        def doubt(self, address: str) -> None: ...

    far = server("s2.dc2", dc="dc2", build=FOREIGN_BUILD)
    wires = Wires(ours=None, foreign=Foreign(), datacenter="dc1")  # type: ignore[arg-type]
    wires.learn([far])
    request = KVGetRequest(key="a", options=QueryOptions(datacenter="dc2"))
    assert await wires.call(far.rpc_address, "@KVS.Get", codec.encode(request), timeout_s=1.0)
