"""`mesh monitor`. Source: command-line specification, monitor."""

from base.errors import MeshError
from mesh.cli.context import Context

ENDED_TEXT = "Remote side ended the monitor! This usually means that the\nremote side has exited or crashed."


def monitor(context: Context) -> int:
    """Print the log until the agent ends it (exit 1) or Ctrl-C does (exit 0)."""
    given = context.given
    try:
        with context.client.monitor(level=given.text("log-level", "INFO"), as_json=given.switch("log-json")) as lines:
            for line in lines:
                context.output.line(line.decode("utf-8", "replace"))
    except KeyboardInterrupt:
        return 0
    except MeshError as error:
        context.output.error(f"Error starting monitor: {error}")
        return 1
    context.output.error(ENDED_TEXT)
    return 1
