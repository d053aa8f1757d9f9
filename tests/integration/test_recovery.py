"""A majority of the servers is lost for good: what the survivor has, it keeps, and the group goes on from there."""

import json
from pathlib import Path

from jepsen.cluster import Cluster
from tests.integration.test_bad_days import keys_under, refusal_of, wait_writable, write_some


async def test_a_survivor_with_a_peers_file_goes_on_alone_and_takes_in_new_servers(tmp_path: Path) -> None:
    async with Cluster(tmp_path, servers=3, agents=0) as cluster:
        survivor, *lost = cluster.servers
        await write_some(await cluster.leader(), 20)
        for server in cluster.servers:
            server.kill()
        for server in lost:
            server.wipe()
        peers_path = survivor.data_dir / "raft" / "peers.json"
        peers_path.write_text("[]", encoding="utf-8")
        assert str(peers_path) in await refusal_of(survivor)
        server_id = (survivor.data_dir / "node-id").read_text(encoding="utf-8").strip()
        peers_path.write_text(json.dumps([{"id": server_id, "address": survivor.rpc_address}]), encoding="utf-8")
        survivor.start()
        await wait_writable(survivor)
        assert not peers_path.exists()
        assert len(await keys_under(survivor, "kept")) == 20
        for server in lost:
            server.start()
        for server in lost:
            await wait_writable(server)
            assert len(await keys_under(server, "kept")) == 20
        assert "Traceback" not in cluster.story()
        assert all(server.running for server in cluster.servers)
