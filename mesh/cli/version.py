"""`mesh version`. Source: command-line specification, version."""

from base.version import VERSION
from mesh.cli.context import Context


def version(context: Context) -> int:
    """Print the version, and the gossip protocol as scripts expect it."""
    context.output.line(f"Mesh v{VERSION}")
    context.output.line(
        "Protocol 2 spoken by default, understands 2 to 3 "
        "(agent will automatically use protocol >2 when speaking to compatible agents)"
    )
    return 0
