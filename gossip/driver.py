"""UDP and TCP of one gossip pool: takes what the machine decides to the wire, the disk and the application.

Takes no decisions. Bytes that come in are opened (decrypted, unpacked, checked) before the machine sees them, and what
it wants sent is packed and sealed here. All of it lives in one trio loop; `pool.py` gives it one of its own.

Bounds: a batch of datagrams at a time, streams by source and in total, one deadline a stream, the bytes that all
streams together have brought and nobody could read yet, and changes of files that wait for the disk. What does not fit
is dropped, and the log says so, at most once in LOG_PAUSE_S for each kind of reason.

Probes must be answered whatever else comes. So what is long is unpacked in a thread of its own, one at a time, and
comparing a long table is followed by a pause in which other tables wait: it takes a part of the time, never all of it.
"""

import itertools
import math
import os
from collections.abc import Callable, Sequence
from typing import Any, Final

import trio

from base.datagrams import Datagrams
from base.elapsed import elapsed_s
from base.errors import MeshError
from base.limits import KeyedCap, Seldom
from base.log import get_logger
from base.network import Listener, Network, Stream, join_address, split_address
from gossip import instructions as ins
from gossip import packets, streams
from gossip.files import GossipFiles
from gossip.instructions import Address
from gossip.intake import Intake, Load
from gossip.keyring import Keyring
from gossip.machine import GossipMachine
from gossip.messages import Type

STREAMS_MAX: Final = 512
STREAMS_PER_SOURCE_MAX: Final = 64
"""A healthy member opens one at a time; several live behind one address in tests and behind some networks."""
STREAMS_OUT_MAX: Final = 128
REQUEST_S_MIN: Final = 0.002
"""A request that took longer is followed by a pause."""
REQUEST_S_MAX: Final = 1.0
"""What is taken for longer was not work, but a machine that slept meanwhile."""
REQUESTS_SHARE: Final = 4
"""At most one part in so many of the time goes into tables that others send."""
WRITES_WAITING_MAX: Final = 256
"""Changes of files that wait for a slow disk. A lost line costs a detour at the next start, nothing else."""
LOG_PAUSE_S: Final = 10.0
NONCE_BYTES: Final = 12

_log = get_logger("gossip")

Deliver = Callable[[ins.Instruction], None]


class _Waiter:
    __slots__ = ("done", "result")

    def __init__(self) -> None:
        self.done = trio.Event()
        self.result: Any = None


class GossipDriver:
    """One member of one pool. `run` is the only place that starts its tasks."""

    def __init__(
        self,
        *,
        pool: str,
        machine: GossipMachine,
        datagrams: Datagrams,
        listener: Listener,
        network: Network,
        files: GossipFiles,
        keyring: Keyring | None,
        tcp_timeout_s: float,
        deliver: Deliver,
        verify_incoming: bool = True,
        verify_outgoing: bool = True,
        is_allowed: Callable[[str], bool] = lambda host: True,
    ) -> None:
        """`pool` names it in the log. `deliver` gets what is for the application, in order, and must be quick."""
        self.machine = machine
        self._pool = pool
        self._datagrams = datagrams
        self._listener = listener
        self._network = network
        self._files = files
        self._keyring = keyring
        self._tcp_timeout_s = tcp_timeout_s
        self._deliver = deliver
        self._verify_incoming = verify_incoming
        self._verify_outgoing = verify_outgoing
        self._is_allowed = is_allowed
        self._operations = itertools.count(1)
        self._stream_ids = itertools.count(1)
        self._waiting: dict[int, _Waiter] = {}
        self._answers: dict[int, _Waiter] = {}
        self._cap = KeyedCap(per_key_max=STREAMS_PER_SOURCE_MAX, total_max=STREAMS_MAX)
        self._streams_out_count = 0
        self._intake = Intake()
        self._requests_turn = trio.Lock()
        self._requests_resume_s = -math.inf
        self._wake_at_s = 0.0
        self._rearmed = trio.Event()
        self._nursery: trio.Nursery | None = None
        self._writes_in, self._writes_out = trio.open_memory_channel[ins.Instruction](WRITES_WAITING_MAX)
        self._keys_unwritten: ins.WriteKeyring | None = None
        self._complaints: dict[str, Seldom] = {}

    # Life

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Take part until cancelled."""
        try:
            async with trio.open_nursery() as nursery:
                self._nursery = nursery
                nursery.start_soon(self._write_files)
                nursery.start_soon(self._receive_datagrams)
                nursery.start_soon(self._accept)
                self._handle(ins.Started(at_s=trio.current_time(), snapshot=self._files.read_snapshot()))
                nursery.start_soon(self._keep_time)
                task_status.started()
        finally:
            self._nursery = None
            self._datagrams.close()
            self._listener.close()
            self._flush_writes()

    async def ask(self, event: Callable[..., ins.Event], **fields: Any) -> Any:
        """Start an operation (`event` takes at_s, operation and `fields`) and return its result."""
        await trio.lowlevel.checkpoint_if_cancelled()  # whoever goes together with us finds nobody to start it for
        operation = next(self._operations)
        waiter = self._waiting[operation] = _Waiter()
        try:
            self._handle(event(at_s=trio.current_time(), operation=operation, **fields))
            await waiter.done.wait()
        finally:
            del self._waiting[operation]
        return waiter.result

    def tell(self, event: Callable[..., ins.Event], **fields: Any) -> None:
        """Hand in an event that has no end."""
        self._handle(event(at_s=trio.current_time(), **fields))

    # The machine

    def _handle(self, event: ins.Event) -> None:
        for instruction in self.machine.handle(event):
            self._CARRY_OUT[type(instruction)](self, instruction)

    def _send_packet(self, instruction: ins.SendPacket) -> None:
        keyring = self._sealing
        nonce = os.urandom(NONCE_BYTES) if keyring is not None else b""
        data = packets.seal_packet(instruction.payload, keyring, with_crc=instruction.with_crc, nonce=nonce)
        self._datagrams.send(data, instruction.to.host, instruction.to.port)

    def _open_stream(self, instruction: ins.OpenStream) -> None:
        assert self._nursery is not None
        if self._streams_out_count >= STREAMS_OUT_MAX:
            self._nursery.start_soon(self._fail_stream, instruction.stream_id, "too many streams")
            return
        self._streams_out_count += 1
        self._nursery.start_soon(self._exchange, instruction)

    def _answer_stream(self, instruction: ins.AnswerStream) -> None:
        self._end_stream(instruction.stream_id, instruction.message)

    def _close_stream(self, instruction: ins.CloseStream) -> None:
        self._end_stream(instruction.stream_id, None)

    def _end_stream(self, stream_id: int, message: bytes | None) -> None:
        waiter = self._answers.get(stream_id)
        if waiter is not None:
            waiter.result = message
            waiter.done.set()

    def _wake(self, instruction: ins.WakeAt) -> None:
        sooner = instruction.at_s < self._wake_at_s
        self._wake_at_s = instruction.at_s
        if sooner:
            self._rearmed.set()

    def _write(self, instruction: ins.Instruction) -> None:
        if isinstance(instruction, ins.WriteKeyring):
            self._keyring = Keyring(instruction.keys)
            self._keys_unwritten = None  # older ones must not be written after these
        try:
            self._writes_in.send_nowait(instruction)
        except trio.WouldBlock:
            if isinstance(instruction, ins.WriteKeyring):
                self._keys_unwritten = instruction  # without them a restart would lock us out
            self._complain("the disk does not keep up with the snapshot of members", "")

    def _say(self, instruction: ins.Log) -> None:
        getattr(_log, instruction.level)(instruction.text, pool=self._pool, **instruction.fields)

    def _finish(self, instruction: ins.Finished) -> None:
        waiter = self._waiting.get(instruction.operation)
        if waiter is not None:
            waiter.result = instruction.result
            waiter.done.set()

    def _pass_on(self, instruction: ins.Instruction) -> None:
        self._deliver(instruction)

    _CARRY_OUT: Final[dict[type[ins.Instruction], Callable[["GossipDriver", Any], None]]] = {
        ins.SendPacket: _send_packet,
        ins.OpenStream: _open_stream,
        ins.AnswerStream: _answer_stream,
        ins.CloseStream: _close_stream,
        ins.WakeAt: _wake,
        ins.WriteSnapshot: _write,
        ins.WriteKeyring: _write,
        ins.Log: _say,
        ins.Finished: _finish,
        ins.Stop: _pass_on,
        ins.MembersChanged: _pass_on,
        ins.UserEventArrived: _pass_on,
        ins.QueryArrived: _pass_on,
    }

    # Time

    async def _keep_time(self) -> None:
        while True:
            self._rearmed = trio.Event()
            with trio.move_on_at(self._wake_at_s):
                await self._rearmed.wait()
                continue
            self._handle(ins.TimerFired(at_s=trio.current_time()))

    # Datagrams

    async def _receive_datagrams(self) -> None:
        while True:
            for data, (host, port) in await self._datagrams.receive():
                if not self._is_allowed(host):
                    self._complain("packet from a network that is not allowed", host)
                    continue
                try:
                    payload = packets.open_packet(data, self._keyring, verify_incoming=self._verify_incoming)
                except MeshError as error:
                    self._complain("packet dropped", join_address(host, port), str(error))
                    continue
                self._handle(ins.PacketReceived(at_s=trio.current_time(), source=Address(host, port), payload=payload))

    # Streams that others open

    async def _accept(self) -> None:
        assert self._nursery is not None
        while True:
            stream = await self._listener.accept()
            host, port = split_address(stream.peer_address)
            if not self._is_allowed(host):
                self._complain("stream from a network that is not allowed", host)
                stream.close_now()
            elif self._cap.enter(host):
                self._nursery.start_soon(self._serve, stream, Address(host, port))
            else:
                self._complain("too many streams", host)
                stream.close_now()

    async def _serve(self, stream: Stream, source: Address) -> None:
        try:
            with trio.move_on_after(self._tcp_timeout_s), self._intake.load() as load:
                await self._answer(stream, source, load)
        except MeshError as error:
            self._complain("stream failed", join_address(*source), str(error))
        finally:
            stream.close_now()
            self._cap.leave(source.host)

    async def _answer(self, stream: Stream, source: Address, load: Load) -> None:
        try:
            message = await self._read(stream, load)
        except streams.EnvelopeRefused as error:
            await self._send(stream, streams.error_answer(error))
            raise
        stream_id = next(self._stream_ids)
        waiter = self._answers[stream_id] = _Waiter()
        try:
            if message[0] == Type.PING:
                self._request(stream_id, source, message)
            else:
                await self._request_in_turn(stream_id, source, message)
            await waiter.done.wait()
        finally:
            del self._answers[stream_id]
        if waiter.result is not None:
            load.set(len(waiter.result))
            await self._send(stream, waiter.result)

    def _request(self, stream_id: int, source: Address, message: bytes) -> None:
        self._handle(ins.StreamRequest(at_s=trio.current_time(), stream_id=stream_id, source=source, message=message))

    async def _request_in_turn(self, stream_id: int, source: Address, message: bytes) -> None:
        """Hand in a request that may take long, and then leave the others their time."""
        async with self._requests_turn:
            await trio.sleep_until(self._requests_resume_s)
            began_s = elapsed_s()
            self._request(stream_id, source, message)
            took_s = elapsed_s() - began_s
            if took_s > REQUEST_S_MIN:
                self._requests_resume_s = trio.current_time() + min(took_s, REQUEST_S_MAX) * (REQUESTS_SHARE - 1)

    async def _read(self, stream: Stream, load: Load) -> bytes:
        """Return the one message of a stream; raises MeshErrors."""
        reader = streams.StreamReader(self._keyring, verify_incoming=self._verify_incoming)
        return await self._intake.read(stream, reader, load)

    async def _send(self, stream: Stream, message: bytes) -> None:
        keyring = self._sealing
        nonce = os.urandom(NONCE_BYTES) if keyring is not None else b""
        await stream.send_all(streams.seal_stream(message, keyring, nonce))

    @property
    def _sealing(self) -> Keyring | None:
        return self._keyring if self._verify_outgoing else None

    # Streams that we open

    async def _exchange(self, wanted: ins.OpenStream) -> None:
        """Dial, send, read; the machine hears of exactly one end."""
        message: bytes | None = None
        text = "i/o timeout"
        try:
            with trio.move_on_at(wanted.deadline_s), self._intake.load() as load:
                left_s = max(0.0, wanted.deadline_s - trio.current_time())
                stream = await self._network.dial(wanted.to.host, wanted.to.port, left_s)
                try:
                    await self._send(stream, wanted.message)
                    message = b"" if wanted.one_way else await self._read(stream, load)
                finally:
                    stream.close_now()
        except MeshError as error:
            text = str(error)
        finally:
            self._streams_out_count -= 1
        now_s = trio.current_time()
        if message is None:
            self._handle(ins.StreamFailed(at_s=now_s, stream_id=wanted.stream_id, text=text))
        else:
            self._handle(ins.StreamAnswered(at_s=now_s, stream_id=wanted.stream_id, message=message))

    async def _fail_stream(self, stream_id: int, text: str) -> None:
        self._handle(ins.StreamFailed(at_s=trio.current_time(), stream_id=stream_id, text=text))

    # Files

    async def _write_files(self) -> None:
        while True:
            batch = [await self._writes_out.receive(), *self._more_writes()]
            await trio.to_thread.run_sync(self._files.write, batch)

    def _more_writes(self) -> list[ins.Instruction]:
        more: list[ins.Instruction] = []
        while len(more) < WRITES_WAITING_MAX:
            try:
                more.append(self._writes_out.receive_nowait())
            except trio.WouldBlock:
                break
        if self._keys_unwritten is not None:
            more.append(self._keys_unwritten)
            self._keys_unwritten = None
        return more

    def _flush_writes(self) -> None:
        self._files.write(self._more_writes())

    # The log

    def _complain(self, what: str, whose: str, why: str = "") -> None:
        """Warn of what others did. `what` is one of a few words: `why`, which others may choose, opens no new count."""
        count = self._complaints.setdefault(what, Seldom(LOG_PAUSE_S)).count(trio.current_time())
        if count:
            _log.warn(what, pool=self._pool, peer=whose, count=count, **({"reason": why} if why else {}))

    def addresses_of(self, names: Sequence[str]) -> list[str]:
        """Return "host:port" of the members with these names."""
        by_name = {member.name: member for member in self.machine.members()}
        return [join_address(*by_name[name].address) for name in names if name in by_name]
