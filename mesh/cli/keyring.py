"""`mesh keyring`. Source: command-line specification, keyring."""

from base.errors import MeshError
from mesh.cli.context import Context
from mesh.cli.registry import COMMANDS
from structs.keyring import RELAY_FACTOR_MAX, KeyringAnswer

NEWS = {
    "install": "Installing new gossip encryption key...",
    "use": "Changing primary gossip encryption key...",
    "remove": "Removing gossip encryption key...",
}


def keyring(context: Context) -> int:
    """List, install, use or remove keys: exactly one of these."""
    given = context.given
    wanted = [name for name in NEWS if given.text(name)]
    if len(wanted) + given.switch("list") > 1:
        context.output.error("Only a single action is allowed")
        return 1
    if not wanted and not given.switch("list"):
        context.output.error(COMMANDS["keyring"].usage())
        return 1
    relay_factor = given.number("relay-factor")
    if relay_factor > RELAY_FACTOR_MAX:
        context.output.error(f"Error parsing relay factor: Relay factor must be in range: [0, {RELAY_FACTOR_MAX}]")
        return 1
    keys = context.client.operator.keyring
    try:
        if not wanted:
            context.output.line("==> Gathering installed encryption keys...")
            _print_answers(context, keys.list(relay_factor=relay_factor))
            return 0
        (action,) = wanted
        context.output.line(f"==> {NEWS[action]}")
        {"install": keys.install, "use": keys.use, "remove": keys.remove}[action](
            given.text(action), relay_factor=relay_factor
        )
    except MeshError as error:
        context.output.error(f"error: {error}")
        return 1
    return 0


def _print_answers(context: Context, answers: list[KeyringAnswer]) -> None:
    for answer in answers:
        segment = f" [{answer.segment}]" if answer.segment else ""
        pool = "WAN" if answer.wan else f"{answer.datacenter} (LAN){segment}"
        context.output.line("")
        context.output.line(f"{pool}:")
        for node, message in sorted(answer.messages.items()):
            context.output.line(f"  ===> {node}: {message}")
        for key, count in sorted(answer.keys.items()):
            context.output.line(f"  {key} [{count}/{answer.nodes_count}]")
