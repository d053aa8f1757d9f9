"""Rules that every model of the state shares: what was written is the same wherever it goes on from."""

import io
import tempfile
from pathlib import Path

from hypothesis.stateful import RuleBasedStateMachine, rule

from fsm import archive, snapshot
from fsm.machine import Machine
from fsm.store.store import Store
from fsm.watch import WatchRegistry
from structs.archive import ArchiveMeta
from tests.fakes.replica import Replica


class GoingOn(RuleBasedStateMachine):
    """Whoever inherits from it makes these three before the first rule runs."""

    directory: Path
    stores: int
    """How many stores were made; each has a folder of its own."""
    replica: Replica

    @rule()
    def go_on_from_a_snapshot(self) -> None:
        copy = self.directory / f"copy-{self.stores}.mdb"
        self.stores += 1
        machine = self.replica.machine
        facts = snapshot.write_copy(machine.store, copy)
        assert (facts.raft_index, facts.digest) == (machine.raft_index_applied, machine.digest_now)
        machine.replace_store(snapshot.open_copy(copy, self.directory / f"state-{self.stores}"))

    @rule()
    def go_on_elsewhere_from_an_archive(self) -> None:
        file = io.BytesIO()
        with self.replica.machine.read() as view:
            archive.write_archive(view, file, ArchiveMeta(snapshot_id="s", index=view.index, term=view.term))
        self.stores += 1
        before = self.replica
        self.replica = Replica(self.directory / f"state-{self.stores}")
        for command in archive.read_archive(file).commands("restore"):
            self.replica.run(command)
        assert self.replica.dump() == before.dump()
        before.close()

    @rule()
    def go_on_by_replaying_the_log(self) -> None:
        """In one batch, on a fresh machine: the same digest."""
        with tempfile.TemporaryDirectory() as folder:
            machine = Machine(Store.create(Path(folder)), WatchRegistry())
            for index, command in enumerate(self.replica.log, 1):
                machine.apply(index, 1, command)
            machine.commit_batch()
            assert machine.digest_now == self.replica.machine.digest_now
            machine.close()
