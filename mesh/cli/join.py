"""`mesh join`, `leave` and `force-leave`. Source: command-line specification."""

from base.errors import MeshError
from mesh.cli.context import Context


def join(context: Context) -> int:
    """Make the agent join through each address; one that takes it in is enough."""
    addresses = context.given.arguments
    if not addresses:
        context.output.error("At least one address to join must be specified.")
        return 1
    joined_count = 0
    for address in addresses:
        try:
            context.client.agent.join(address, wan=context.given.switch("wan"))
        except MeshError as error:
            context.output.error(f"Error joining address '{address}': {error}")
        else:
            joined_count += 1
    if not joined_count:
        context.output.error("Failed to join any nodes.")
        return 1
    context.output.line(f"Successfully joined cluster by contacting {joined_count} nodes.")
    return 0


def leave(context: Context) -> int:
    """Make the agent leave; it ends then."""
    if context.given.arguments:
        context.output.error(f"Error found unexpected args: {' '.join(context.given.arguments)}")
        return 1
    try:
        context.client.agent.leave()
    except MeshError as error:
        context.output.error(f"Error leaving: {error}")
        return 1
    context.output.line("Graceful leave complete")
    return 0


def force_leave(context: Context) -> int:
    """Turn a failed member into one that left."""
    if len(context.given.arguments) != 1:
        context.output.error("A single node name must be specified to force leave.")
        return 1
    try:
        context.client.agent.force_leave(context.given.arguments[0], prune=context.given.switch("prune"))
    except MeshError as error:
        context.output.error(f"Error force leaving: {error}")
        return 1
    return 0
