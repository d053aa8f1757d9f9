"""A service while a program runs: registered with the agent, kept passing by its TTL check, deregistered at the end.

    with RegisteredService(client, NodeService(service_id="web1", service="web", port=80)) as web:
        ...
        web.set_status("warning", "queue is long")

    async with service_in_trio(client, NodeService(service_id="web1", service="web", port=80)):
        ...

A program that dies without a word is critical when its time is over, and is forgotten `deregister_after_s` later.
An agent that has forgotten the service (its data is gone) is given it again.
"""

import threading
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING, Self

import msgspec
import trio

from base.errors import MeshError, NotFound, Refused
from mesh.agent import Agent
from mesh.call import Call
from structs.catalog import CheckStatus, NodeService
from structs.check_spec import CheckSpec

if TYPE_CHECKING:
    from mesh.client import Client
    from mesh.trio_client import TrioClient

TTL_S = 15.0
UPDATES_PER_TTL = 3
DEREGISTER_AFTER_S = 600.0
FAREWELL_S = 10.0


class Keeping(msgspec.Struct, frozen=True, kw_only=True):
    """What is registered, and the calls that keep it."""

    service: NodeService
    ttl_s: float = TTL_S
    deregister_after_s: float = DEREGISTER_AFTER_S

    @property
    def check_id(self) -> str:
        """Id of the TTL check."""
        return f"service:{self.service.service_id}"

    @property
    def interval_s(self) -> float:
        """Between two updates."""
        return self.ttl_s / UPDATES_PER_TTL

    def register(self) -> Call[None]:
        """Give the agent the service."""
        check = CheckSpec(
            check_id=self.check_id,
            name=f"Service '{self.service.service}' check",
            ttl_s=self.ttl_s,
            status=CheckStatus.PASSING.value,
            deregister_after_s=self.deregister_after_s,
        )
        return Agent.register(self.service, [check])

    def update(self, status: str, output: str) -> Call[None]:
        """Tell how it is."""
        return Agent.update_ttl(self.check_id, status, output)

    def deregister(self) -> Call[None]:
        """Take it away."""
        return Agent.deregister(self.service.service_id)


def is_forgotten(error: MeshError) -> bool:
    """Whether an update failed because the agent does not know the check."""
    return isinstance(error, NotFound | Refused) or "does not have associated TTL" in str(error)


def may_be_registered(error: BaseException) -> bool:
    """Whether a registration that ended so, in an error or cancelled, may have happened all the same."""
    return not (isinstance(error, MeshError) and error.definite)


class RegisteredService:
    """Registers when entered; a thread keeps it."""

    def __init__(
        self,
        client: "Client",
        service: NodeService,
        *,
        ttl_s: float = TTL_S,
        deregister_after_s: float = DEREGISTER_AFTER_S,
    ) -> None:
        self._client = client
        self._keeping = Keeping(service=service, ttl_s=ttl_s, deregister_after_s=deregister_after_s)
        self._told = (CheckStatus.PASSING.value, "")
        self._changed = threading.Event()
        self._stopped = False
        self._thread = threading.Thread(target=self._keep, name="mesh-service", daemon=True)

    def __enter__(self) -> Self:
        try:
            self._client.carry(self._keeping.register())
        except BaseException as error:
            if may_be_registered(error):
                with suppress(MeshError):
                    self._client.carry(self._keeping.deregister())
            raise
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self._stopped = True
        self._changed.set()
        self._thread.join()
        try:
            self._client.carry(self._keeping.deregister())
        except MeshError as error:
            # Somebody else has done it; or the block's own error is the one to be heard of.
            if kind is None and not isinstance(error, NotFound):
                raise

    def set_status(self, status: CheckStatus | str, output: str = "") -> None:
        """Tell the agent at once, and from then on; errors are waited out."""
        self._told = (str(status), output)
        self._changed.set()

    def _keep(self) -> None:
        while True:
            self._changed.wait(self._keeping.interval_s)
            self._changed.clear()
            if self._stopped:
                return
            try:
                self._client.carry(self._keeping.update(*self._told))
            except MeshError as error:
                self._again(error)

    def _again(self, error: MeshError) -> None:
        if not is_forgotten(error):
            return  # the next update comes soon; until then the check's own time decides
        try:
            self._client.carry(self._keeping.register())
        except MeshError:
            return


@asynccontextmanager
async def service_in_trio(
    client: "TrioClient",
    service: NodeService,
    *,
    ttl_s: float = TTL_S,
    deregister_after_s: float = DEREGISTER_AFTER_S,
) -> AsyncGenerator[None, None]:
    """Keep a service registered and passing while the block runs."""
    keeping = Keeping(service=service, ttl_s=ttl_s, deregister_after_s=deregister_after_s)

    async def keep() -> None:
        while True:
            await trio.sleep(keeping.interval_s)
            try:
                await client.carry(keeping.update(CheckStatus.PASSING.value, ""))
            except MeshError as error:
                if is_forgotten(error):
                    await again()

    async def again() -> None:
        try:
            await client.carry(keeping.register())
        except MeshError:
            return

    failure: Exception | None = None
    try:
        await client.carry(keeping.register())
    except BaseException as error:
        if may_be_registered(error):
            with trio.move_on_after(FAREWELL_S, shield=True), suppress(MeshError):
                await client.carry(keeping.deregister())
        raise
    try:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(keep)
            try:
                yield
            except Exception as error:  # the border to the block's author: raised again below, without a group
                failure = error
            nursery.cancel_scope.cancel()
    finally:
        with trio.move_on_after(FAREWELL_S, shield=True):
            try:
                await client.carry(keeping.deregister())
            except MeshError as error:
                failure = failure or (None if isinstance(error, NotFound) else error)
    if failure is not None:
        raise failure
