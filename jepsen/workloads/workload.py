"""The shape of a workload: who does what, final reads, and its checkers."""

import random
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import ClassVar
from urllib.parse import quote

from jepsen.checkers.verdict import Checker
from jepsen.client import Client

ROOT = "jepsen/"
"""All keys of all workloads are under it, so that a cluster that is somebody's can be tidied."""


class Worker:
    """One client of a workload: its number, its chance, and what it may call. It has one operation at a time."""

    def __init__(self, *, process: int, position: int, rng: random.Random, client: Client) -> None:
        self.process = process
        """Unique in the run."""
        self.position = position
        """0, 1, ... within its workload."""
        self.rng = rng
        self.client = client
        """Records every call. Replaced by one at another node if its own was taken out of the cluster for good."""


class Workload(ABC):
    """One instance a run. `step` is called again and again by every worker until the run's time is over."""

    name: ClassVar[str]
    description: ClassVar[str]
    """One line for `python -m jepsen list`."""
    workers_count: ClassVar[int] = 6
    rate_hz: ClassVar[float] = 20.0
    """Steps a second of one worker, at most; the run scales it."""
    options: ClassVar[tuple[str, ...]] = ()
    """Options of the command line that all nodes of the run are started with. A cluster of others may not have them."""

    def __init__(self, rng: random.Random) -> None:
        self.rng = rng
        """Decides what is common to all workers."""
        self.prefix = f"{ROOT}{self.name}/{rng.getrandbits(24):06x}/"
        """Every key of this run begins with it."""

    async def prepare(self, client: Client) -> None:
        """Before the faults begin: remove what an earlier run of the same seed left in a cluster that was kept.

        Raises CallFailed, CallUnclear.
        """
        entries, _ = await client.http.scan(self.prefix)
        if entries:
            await client.http.request("DELETE", f"/v1/kv/{quote(self.prefix)}?recurse", is_write=True)

    @abstractmethod
    async def step(self, worker: Worker) -> None:
        """Choose and make one operation (or the few that belong together). Never raises for what a server does."""

    @abstractmethod
    async def finish(self, clients: Sequence[Client]) -> None:
        """Final reads, after the last healing: one client for each node. Calls made here are marked `final`."""

    @staticmethod
    @abstractmethod
    def checkers() -> list[Checker]:
        """Judges of this workload's part of the history. Of no instance: they also run on saved histories."""
