"""Applies changes of autopilot's configuration. Source: state store specification, sections 9 and 14."""

from fsm.store import autopilot
from fsm.store.store import Batch
from structs.autopilot import AutopilotCommand, AutopilotSetReply

MATCHED = AutopilotSetReply(ok=True)
NOT_MATCHED = AutopilotSetReply(ok=False)


def apply(batch: Batch, command: AutopilotCommand) -> AutopilotSetReply:
    """Replace the configuration, if the command's conditions hold."""
    old = autopilot.get(batch)
    if command.only_if_absent and old is not None:
        return NOT_MATCHED
    if command.cas and (old is None or old.modify_index != command.config.modify_index):
        return NOT_MATCHED
    autopilot.put(batch, command.config)
    return MATCHED
