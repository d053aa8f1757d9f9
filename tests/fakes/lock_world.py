"""Contenders for locks in simulated time: their procedures, an agent that fails and dawdles, and one clock."""

import heapq
import random
from collections.abc import Callable
from contextlib import suppress
from itertools import count
from typing import Any

from base.errors import MeshError, NoLeader, OutcomeUnknown
from mesh.call import Call
from mesh.errors import error_of
from mesh.reply import Reply
from mesh.steps import Ask, Pause, Procedure
from tests.fakes.kv_agent import KVAgent

POLL_S = 0.25


class World:
    """Everything happens in `run`; `rng` decides delays and faults."""

    def __init__(self, rng: random.Random, *, trouble: float = 0.0, ttl_factor: float = 1.0) -> None:
        self.agent = KVAgent(ttl_factor=ttl_factor)
        self.rng = rng
        self.trouble = trouble
        self.now_s = 0.0
        self.looks: list[Callable[[], None]] = []
        self._queue: list[tuple[float, int, Callable[[], None]]] = []
        self._order = count()

    def at(self, time_s: float, do: Callable[[], None]) -> None:
        """Do something later."""
        heapq.heappush(self._queue, (time_s, next(self._order), do))

    def run(self, until_s: float) -> None:
        """Let time pass."""
        while self._queue and self._queue[0][0] <= until_s:
            self.now_s, _, do = heapq.heappop(self._queue)
            self.agent.now_s = self.now_s
            self.agent.expire()
            do()
            for look in self.looks:
                look()
        self.now_s = until_s

    def start(self, procedure: Procedure[Any], done: Callable[[Any], None], is_stopped: Callable[[], bool]) -> None:
        """Carry out a procedure; `done` is given its result, or the error that it ended with."""
        self._step(procedure, done, is_stopped, None, None)

    def _step(
        self,
        procedure: Procedure[Any],
        done: Callable[[Any], None],
        is_stopped: Callable[[], bool],
        given: Any,
        failure: MeshError | None,
    ) -> None:
        def go_on(given: Any, failure: MeshError | None = None) -> None:
            self._step(procedure, done, is_stopped, given, failure)

        try:
            step = procedure.send(given) if failure is None else procedure.throw(failure)
        except StopIteration as end:
            done(end.value)
            return
        except MeshError as error:
            done(error)
            return
        if isinstance(step, Ask):
            self._ask(step.call, go_on)
        elif isinstance(step, Pause):
            self.at(self.now_s + step.seconds, lambda: go_on(is_stopped()))
        else:
            self.at(self.now_s, lambda: go_on(self.now_s))

    def _ask(self, call: Call[Any], go_on: Callable[..., None]) -> None:
        there_s = self.now_s + self.rng.uniform(0.0, 0.3)
        fate = self.rng.random()
        if fate < self.trouble:
            self.at(there_s + self.rng.uniform(0.0, 8.0), lambda: go_on(None, NoLeader()))
        elif fate < 2 * self.trouble:  # perhaps carried out, perhaps much later, and nobody says
            if self.rng.random() < 0.7:
                self.at(there_s + self.rng.uniform(0.0, 6.0), lambda: self._carry_late(call))
            lost_s = there_s + min(call.timeout_s or 8.0, 8.0)
            self.at(lost_s, lambda: go_on(None, OutcomeUnknown("no answer")))
        else:
            wait_s = call.blocking_s * 16 / 17
            self.at(there_s, lambda: self._answer(call, go_on, self.now_s + wait_s))

    def _answer(self, call: Call[Any], go_on: Callable[..., None], until_s: float) -> None:
        asked = int(str(call.parameters.get("index", "0")))
        if asked and self.agent.index <= asked and self.now_s < until_s:
            self.at(self.now_s + POLL_S, lambda: self._answer(call, go_on, until_s))
            return
        back_s = self.now_s + self.rng.uniform(0.0, 0.3)
        try:
            result = self._carry(call)
        except MeshError as error:
            failure = error
            self.at(back_s, lambda: go_on(None, failure))
        else:
            self.at(back_s, lambda: go_on(result))

    def _carry_late(self, call: Call[Any]) -> None:
        with suppress(MeshError):  # nobody hears of it
            self._carry(call)

    def _carry(self, call: Call[Any]) -> Any:
        query = {name: str(value) for name, value in call.parameters.items()}
        index = self.agent.index
        status, body = self.agent.answer(call.method, call.path, query, call.body or b"")
        if status != 200 and status not in call.accept:
            raise error_of(status, body, "refused", is_read=call.is_read)
        return call.parse(Reply(status=status, headers={"x-consul-index": str(index)}, body=body))
