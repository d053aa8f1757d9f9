"""`mesh operator raft list-peers | remove-peer | transfer-leader`. Source: command-line specification, operator."""

from base.errors import InvalidRequest, MeshError
from mesh.cli.context import Context


def list_peers(context: Context) -> int:
    """Print the Raft configuration."""
    try:
        configuration = context.client.operator.raft_configuration(context.read())
    except MeshError as error:
        context.output.error(f"Error getting peers: Failed to retrieve raft configuration: {error}")
        return 1
    rows = [["Node", "ID", "Address", "State", "Voter", "RaftProtocol"]]
    for server in configuration.servers:
        state = "leader" if server.leader else "follower"
        voter = "true" if server.voter else "false"
        rows.append([server.peer.name, server.peer.server_id, server.peer.address, state, voter, server.protocol])
    context.output.table(rows)
    return 0


def remove_peer(context: Context) -> int:
    """Remove one server, named by its id or its address."""
    server_id, address = context.given.text("id"), context.given.text("address")
    if not server_id and not address:
        raise InvalidRequest("an address or id is required for the peer to remove")
    if server_id and address:
        raise InvalidRequest("cannot remove a peer by both its id and its address")
    try:
        context.client.operator.raft_remove_peer(server_id=server_id, address=address)
    except MeshError as error:
        context.output.error(f"Error removing peer: {error}")
        return 1
    named = f'id "{server_id}"' if server_id else f'address "{address}"'
    context.output.line(f"Removed peer with {named}")
    return 0


def transfer_leader(context: Context) -> int:
    """Hand leadership over."""
    try:
        done = context.client.operator.raft_transfer_leader(context.given.text("id"))
    except MeshError as error:
        context.output.error(f"Error transferring leadership: {error}")
        return 1
    if not done:
        context.output.error("Error transferring leadership: the leader did not step down")
        return 1
    context.output.line("Success")
    return 0
