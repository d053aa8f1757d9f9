"""Two datacenters of real processes: who sees whom, whose call is answered where, and what a lost one looks like."""

import base64
import json
from functools import partial
from pathlib import Path

import trio

from jepsen.cluster import Node
from tests.integration.datacenter_story import Datacenter, datacenters, everybody
from tests.integration.gossip_story import (
    ALIVE,
    FAILED,
    assert_no_tracebacks,
    keyring_file,
    listed,
    mesh,
    names,
    statuses,
    wait_for,
    wait_members,
)
from tests.integration.test_tls_cluster import block, certificates

OLD, NEW = (base64.b64encode(bytes([number]) * 32).decode() for number in (3, 4))
"""Keys of gossip."""
NO_PATH = (500, b"No path to datacenter")


async def known_datacenters(node: Node) -> list[str]:
    return list((await node.request("GET", "/v1/catalog/datacenters")).json())


async def get(node: Node, path: str) -> tuple[int, bytes]:
    reply = await node.request("GET", path)
    return reply.status, reply.body


async def put(node: Node, path: str, body: bytes) -> tuple[int, bytes]:
    reply = await node.request("PUT", path, body)
    return reply.status, reply.body


async def test_calls_are_answered_in_the_datacenter_that_they_name(tmp_path: Path) -> None:
    near, far = Datacenter(tmp_path, "dc1", servers=3), Datacenter(tmp_path, "dc2", servers=1)
    far.servers[0].options += ["-retry-join-wan", near.wan_address(near.servers[0])]
    near.agent.options += ["-hcl", "translate_wan_addrs = true"]
    far.agent.options += ["-hcl", 'tagged_addresses { vpn = "192.0.2.9" }', "-advertise-wan", "198.51.100.9"]
    async with datacenters(near, far):
        # One address was enough: the servers of dc1 bring each other in.
        await wait_members([*near.servers, *far.servers], everybody(near, far), wan=True)
        assert set(await listed(near.servers[1], "-wan")) == {*everybody(near, far)}
        for node in near.cluster.nodes:
            await wait_for(f"datacenters at {node.name}", partial(known_datacenters, node), ["dc1", "dc2"])
        for node in far.cluster.nodes:
            await wait_for(f"datacenters at {node.name}", partial(known_datacenters, node), ["dc2", "dc1"])
        for node in near.cluster.nodes:
            said = node.name.encode()
            assert await put(node, "/v1/kv/a?dc=dc2", said) == (200, b"true")
            assert await get(node, "/v1/kv/a?raw&dc=dc2") == (200, said)
            assert await get(node, "/v1/kv/a?raw&dc=DC2") == (200, said)
            assert await get(node, "/v1/kv/a?raw&dc=dc1") == (404, b"")
            assert await get(node, "/v1/kv/a?raw&dc=dc3") == NO_PATH
            assert await put(node, "/v1/kv/a?dc=dc3", said) == NO_PATH
        assert await get(far.agent, "/v1/kv/a?raw") == (200, near.agent.name.encode())
        await a_waiting_query_hears_of_a_write_far_away(near.agent, far.agent)
        await an_event_is_heard_only_where_it_is_fired(near, far)
        await distances_are_known(near)
        await addresses_for_outside_are_told_where_that_is_wanted(near, far)
        await a_datacenter_without_servers_has_no_path_until_one_is_back(near, far)
        assert_no_tracebacks([*near.cluster.nodes, *far.cluster.nodes])


async def a_waiting_query_hears_of_a_write_far_away(asking: Node, writing: Node) -> None:
    found = await asking.request("GET", "/v1/kv/a?dc=dc2")
    bodies: list[bytes] = []

    async def wait() -> None:
        reply = await asking.request("GET", f"/v1/kv/a?raw&dc=dc2&index={found.index}&wait=20s", timeout_s=30.0)
        bodies.append(reply.body)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(wait)
        # The query may arrive after the write; then it has nothing to wait for, and says the same.
        assert await put(writing, "/v1/kv/a", b"news") == (200, b"true")
    assert bodies == [b"news"]


async def an_event_is_heard_only_where_it_is_fired(near: Datacenter, far: Datacenter) -> None:
    await mesh(near.agent, "event", "-name=deploy", "-datacenter=dc2", "v2")

    async def heard(node: Node) -> list[str]:
        reply = await node.request("GET", "/v1/event/list?name=deploy")
        return [base64.b64decode(row["Payload"]).decode() for row in reply.json()]

    for node in far.cluster.nodes:
        await wait_for(f"the event at {node.name}", partial(heard, node), ["v2"])
    for node in near.cluster.nodes:
        assert await heard(node) == []


async def distances_are_known(near: Datacenter) -> None:
    async def asked() -> str:
        said = await mesh(near.servers[0], "rtt", "-wan", "server-2.dc1", "server-1.dc2", expect=None)
        return said.out if said.code == 0 else said.err

    await wait_for("a round trip", asked, lambda seen: seen.startswith("Estimated server-2.dc1 <-> server-1.dc2 rtt: "))
    rows = (await near.agent.request("GET", "/v1/coordinate/datacenters")).json()
    assert {row["Datacenter"]: row["AreaID"] for row in rows} == {"dc1": "wan", "dc2": "wan"}


async def addresses_for_outside_are_told_where_that_is_wanted(near: Datacenter, far: Datacenter) -> None:
    wan = {"wan": {"Address": "198.51.100.5", "Port": 8080}}
    service = {"Name": "web", "Address": "10.1.1.1", "Port": 80, "TaggedAddresses": wan}
    assert (await far.agent.request("PUT", "/v1/agent/service/register", json.dumps(service).encode())).status == 200
    name = far.agent.name
    for asked, node, at in (
        (near.agent, "198.51.100.9", ("198.51.100.5", 8080)),
        (near.servers[0], far.agent.addresses.advertise, ("10.1.1.1", 80)),
    ):
        reply = await asked.request("GET", "/v1/health/service/web?dc=dc2")
        assert ("x-consul-translate-addresses" in reply.headers) == (asked is near.agent)
        ((row,), listed) = (reply.json(), (await asked.request("GET", f"/v1/catalog/node/{name}?dc=dc2")).json())
        assert (row["Node"]["Address"], row["Service"]["Address"], row["Service"]["Port"]) == (node, *at)
        assert (listed["Node"]["Address"], listed["Services"]["web"]["Port"]) == (node, at[1])
        assert row["Node"]["TaggedAddresses"]["vpn"] == "192.0.2.9"
        (row,) = (await asked.request("GET", "/v1/catalog/service/web?dc=dc2")).json()
        assert (row["Address"], row["ServiceAddress"], row["ServicePort"]) == (node, *at)
        rows = {row["Node"]: row["Address"] for row in (await asked.request("GET", "/v1/catalog/nodes?dc=dc2")).json()}
        assert rows[name] == node
    (row,) = (await far.agent.request("GET", "/v1/health/service/web?dc=DC2")).json()
    assert row["Service"]["Address"] == "10.1.1.1"


async def a_datacenter_without_servers_has_no_path_until_one_is_back(near: Datacenter, far: Datacenter) -> None:
    (lost,) = far.servers
    lost.kill()
    reply = await near.agent.request("PUT", "/v1/kv/a?dc=dc2", b"lost")
    assert reply.status == 500, "whatever gossip knows yet"
    await wait_members(near.servers, {**everybody(near), **far.wan_statuses(FAILED)}, wan=True)
    for node in near.cluster.nodes:
        assert await get(node, "/v1/kv/a?raw&dc=dc2") == NO_PATH
        assert await known_datacenters(node) == ["dc1", "dc2"], "it may come back"
    lost.start()
    await wait_for("the path", partial(get, near.agent, "/v1/kv/a?raw&dc=dc2"), (200, b"news"))


async def test_keys_are_changed_in_all_pools_at_once(tmp_path: Path) -> None:
    keys = ("-encrypt", OLD)
    near = Datacenter(tmp_path, "dc1", servers=1, options=keys)
    far = Datacenter(tmp_path, "dc2", servers=2, options=keys)
    async with datacenters(near, far):
        (one,) = near.servers
        other = far.servers[1]
        said = await mesh(one, "join", "-wan", far.wan_address(other))
        assert said.out == "Successfully joined cluster by contacting 1 nodes.\n"
        servers = [*near.servers, *far.servers]
        await wait_members(servers, everybody(near, far), wan=True)

        async def listing() -> list[str]:
            return (await mesh(one, "keyring", "-list")).out.splitlines()

        head = ["==> Gathering installed encryption keys...", ""]
        rows = ["WAN:", f"  {OLD} [3/3]", "", "dc1 (LAN):", f"  {OLD} [2/2]", "", "dc2 (LAN):", f"  {OLD} [3/3]"]
        await wait_for("the keys of all pools", listing, head + rows)
        for verb in (f"-install={NEW}", f"-use={NEW}", f"-remove={OLD}"):
            await mesh(other, "keyring", verb)
        await wait_for("the new key in all pools", listing, head + [row.replace(OLD, NEW) for row in rows])

        async def files() -> list[list[str]]:
            found = [keyring_file(node) for node in [*near.cluster.nodes, *far.cluster.nodes]]
            return found + [keyring_file(node, "remote") for node in servers]

        await wait_for("the keyring files", files, [[NEW]] * 8)
        await wait_members(servers, everybody(near, far), wan=True)
        assert await put(near.agent, "/v1/kv/a?dc=dc2", b"1") == (200, b"true")


async def test_a_join_of_another_datacenters_lan_is_refused_and_leaves_no_trace(tmp_path: Path) -> None:
    near, far = Datacenter(tmp_path, "dc1", servers=1), Datacenter(tmp_path, "dc2", servers=1)
    async with datacenters(near, far):
        for here, there in ((near, far), (far, near)):
            everybody_here = dict.fromkeys(names(here.cluster.nodes), ALIVE)
            await wait_members(here.cluster.nodes, everybody_here)
            address = there.servers[0].gossip_address
            text = f"Failed to join {address}: Member 'server-1' part of wrong datacenter '{there.name}'"
            for node in here.cluster.nodes:
                reply = await node.request("PUT", f"/v1/agent/join/{address}")
                assert reply.status == 500
                assert text in reply.body.decode()
                assert text in (await mesh(node, "join", address, expect=1)).err
                await node.wait_log(f"Member 'server-1' part of wrong datacenter '{there.name}'")
            assert await statuses(here.servers[0]) == everybody_here
            reply = await here.agent.request("PUT", f"/v1/agent/join/{address}?wan=1")
            assert (reply.status, reply.body) == (500, b"Must be a server to join WAN cluster")


async def test_datacenters_that_trust_certificates_alone_reach_each_other(tmp_path: Path) -> None:
    made = certificates(tmp_path / "tls", "dc1", "dc2")
    near, far = Datacenter(tmp_path, "dc1", servers=1), Datacenter(tmp_path, "dc2", servers=1)
    for datacenter in (near, far):
        for node in datacenter.cluster.nodes:
            role = "server" if node in datacenter.servers else "client"
            node.options += block(made, role, datacenter=datacenter.name)
    far.servers[0].options += ["-retry-join-wan", near.wan_address(near.servers[0])]
    async with datacenters(near, far):
        await wait_members([*near.servers, *far.servers], everybody(near, far), wan=True)
        for here, there in ((near, far), (far, near)):
            for node in here.cluster.nodes:
                assert await put(node, f"/v1/kv/a?dc={there.name}", here.name.encode()) == (200, b"true")
            assert await get(there.agent, "/v1/kv/a?raw") == (200, here.name.encode())
