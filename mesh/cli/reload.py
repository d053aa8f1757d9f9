"""`mesh reload`. Source: command-line specification, reload."""

from base.errors import MeshError
from mesh.cli.context import Context


def reload(context: Context) -> int:
    """Make the agent read its configuration again."""
    try:
        context.client.agent.reload()
    except MeshError as error:
        context.output.error(f"Error reloading: {error}")
        return 1
    context.output.line("Configuration reload triggered")
    return 0
