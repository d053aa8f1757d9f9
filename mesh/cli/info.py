"""`mesh info`. Source: command-line specification, info."""

from mesh.cli.context import Context


def info(context: Context) -> int:
    """Print the agent's statistics, section by section."""
    stats = context.client.agent.self().get("Stats") or {}
    for section in sorted(stats):
        context.output.line(f"{section}:")
        for key, value in sorted((stats[section] or {}).items()):
            context.output.line(f"\t{key} = {value}")
    return 0
