"""Each public coroutine of the pool, cancelled at each of its steps: no slot, stream or job stays behind."""

from collections.abc import Awaitable, Callable

import pytest
import trio
import trio.abc

from base.errors import Unreachable
from base.network import RealNetwork
from rpc.frame import BODY_BYTES_MAX
from rpc.pool import RPCPool
from tests.fakes.rpc_pair import TIMEOUT_S, Pair, ours_of, running_pair

STEPS_MAX = 200
"""No coroutine here has as many steps; reaching it means that it never ends."""


class CancelAtStep(trio.abc.Instrument):
    """Cancels a scope after so many steps of its task."""

    def __init__(self, scope: trio.CancelScope, steps: int) -> None:
        self._scope = scope
        self._steps_left = steps
        self._task = trio.lowlevel.current_task()

    def after_task_step(self, task: trio.lowlevel.Task) -> None:
        """See trio.abc.Instrument."""
        if task is self._task:
            self._steps_left -= 1
            if self._steps_left == 0:
                self._scope.cancel()


async def finished_despite_cancel_at(step: int, function: Callable[[], Awaitable[object]]) -> bool:
    with trio.CancelScope() as scope:
        instrument = CancelAtStep(scope, step)
        trio.lowlevel.add_instrument(instrument)
        try:
            await function()
        finally:
            trio.lowlevel.remove_instrument(instrument)
    return not scope.cancelled_caught


async def call_at_once(pair: Pair) -> None:
    await pair.call("echo", b"x")


async def call_later(pair: Pair) -> None:
    await pair.call("later", b"x" * 100_000)


async def call_large(pair: Pair) -> None:
    await pair.call("size", str(BODY_BYTES_MAX + 1).encode())


async def download(pair: Pair) -> None:
    async with pair.pool.stream(pair.address, "download", b"6") as stream:
        while await stream.receive_chunk():
            pass


async def upload(pair: Pair) -> None:
    async with pair.pool.stream(pair.address, "upload", b"") as stream:
        for _ in range(6):
            await stream.send_chunk(bytes(2**20))
        await stream.finish()
        while await stream.receive_chunk():
            pass


async def link(pair: Pair) -> None:
    stream = await pair.pool.open_link(pair.address, 17)
    try:
        await stream.send_all(b"x")
        await stream.receive_some(1)
    finally:
        stream.close_now()


@pytest.mark.parametrize("fresh", [True, False], ids=["dialling", "connected"])
@pytest.mark.parametrize("function", [call_at_once, call_later, call_large, download, upload, link])
async def test_nothing_stays_behind(function: Callable[[Pair], Awaitable[None]], fresh: bool) -> None:
    async with running_pair() as pair:
        for step in range(1, STEPS_MAX):
            if fresh:
                pair.pool.close_peer(pair.address)
            else:
                await pair.call("echo", b"connected")
            done = await finished_despite_cancel_at(step, lambda: function(pair))
            await nothing_left(pair, pair.pool)
            assert await pair.call("later", b"healthy") == b"healthy"
            if done:
                return
        raise AssertionError("never finished")


async def nothing_left(pair: Pair, pool: RPCPool) -> None:
    with trio.fail_after(TIMEOUT_S):
        await pair.until_quiet()
        while pair.served.waiting or pool._peers.dialling_count:
            await trio.lowlevel.checkpoint()
        while any(connection.mux.flows for connection in [*pair.accepted(), *ours_of(pool._hub)]):
            await trio.lowlevel.checkpoint()


async def test_whoever_calls_at_the_moment_of_the_end_is_told_so() -> None:
    """Which of two tasks of one moment runs first is a matter of chance, so it is tried often."""
    told: list[str] = []

    async def call(pool: RPCPool) -> None:
        try:
            await pool.call("127.0.0.1:1", "echo", b"x", timeout_s=TIMEOUT_S)
        except Unreachable as error:
            told.append(str(error))

    with trio.fail_after(TIMEOUT_S):
        async with trio.open_nursery() as calling:
            for _ in range(50):
                async with trio.open_nursery() as nursery:
                    pool = RPCPool(RealNetwork(), tls=None)
                    await nursery.start(pool.run)
                    calling.start_soon(call, pool)
                    nursery.cancel_scope.cancel()
    assert len(told) == 50
    assert "rpc: the pool is not running" in told
