"""Kept replies: what else than an index must be the same for one to be given again."""

import io
from pathlib import Path

from fsm import archive
from server.replies import Replies
from structs.archive import ArchiveMeta
from structs.catalog import HealthCheck, ListServicesReply, ListServicesRequest, NodeService
from structs.query import QueryOptions
from tests.fakes.replica import Replica
from tests.fakes.server_parts import ServerParts, server_parts
from tests.unit.server.test_catalog import register
from tests.unit.server.test_health import service_nodes

WEB = NodeService(service_id="web", service="web", port=80)


def archived(folder: Path, *, port: int, tag: str) -> list[bytes]:
    """The commands that restore another cluster, whose first entry registered `web` at this port."""
    replica = Replica(folder)
    replica.register("n", service=NodeService(service_id="web", service="web", port=port, tags=[tag]))
    file = io.BytesIO()
    with replica.machine.read() as view:
        archive.write_archive(view, file, ArchiveMeta(snapshot_id="x", index=view.index, term=view.term))
    replica.close()
    return list(archive.read_archive(file).commands(f"restore-{port}"))


async def seen(parts: ServerParts) -> tuple[int, list[int], dict[str, list[str]]]:
    """Index and ports of the instances, and the tags of all names."""
    reply = await service_nodes(parts, "Health.ServiceNodes", "web")
    names = await parts.ask("Catalog.ListServices", ListServicesRequest())
    assert isinstance(names, ListServicesReply)
    return reply.meta.index, [instance.service.port for instance in reply.instances], names.services


async def test_two_restores_in_a_row_leave_no_reply_of_before(tmp_path: Path) -> None:
    first, second = archived(tmp_path / "a", port=81, tag="a"), archived(tmp_path / "b", port=82, tag="b")
    async with server_parts(tmp_path) as parts:

        async def restore(commands: list[bytes]) -> None:
            for command in commands:
                await parts.raft.propose(command, timeout_s=1.0)

        await restore(first)
        await restore(second)
        await restore(first)
        index, ports, tags = await seen(parts)
        assert (ports, tags) == ([81], {"web": ["a"]})
        await restore(first)
        await restore(second)
        assert await seen(parts) == (index, [82], {"web": ["b"]})


async def test_what_is_kept_has_a_bound_in_bytes_however_large_the_items_are(tmp_path: Path) -> None:
    output_bytes, bytes_max = 100_000, 2_000_000
    async with server_parts(tmp_path) as parts:
        parts.reads.replies = Replies(bytes_max=bytes_max)
        large = HealthCheck(node="n", check_id="c", status="passing", output="x" * output_bytes)
        await register(parts, "n", service=WEB, checks=[large])
        for number in range(50):
            options = QueryOptions(token=f"t{number}")
            first = await service_nodes(parts, "Health.ServiceNodes", "web", options=options)
            again = await service_nodes(parts, "Health.ServiceNodes", "web", options=options)
            assert again.instances is first.instances, "it is kept"
        assert 0 < len(parts.reads.replies) <= bytes_max // (2 * output_bytes), "as record and in bytes"
