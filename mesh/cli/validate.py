"""`mesh validate`: would an agent start with these files? Source: command-line specification, validate.

The one command that reads the agent's own code for configuration: it must give the very same answer.
"""

from agent.config.load import validate_files
from base.errors import ConfigInvalid, InvalidRequest
from mesh.cli.context import Context


def validate(context: Context) -> int:
    """Print warnings to stderr, and the verdict."""
    given = context.given
    if not given.arguments:
        raise InvalidRequest("Must specify at least one config file or directory")
    file_format = given.text("config-format")
    if file_format not in ("", "json", "hcl"):
        raise InvalidRequest(f"-config-format must be json or hcl, not {file_format!r}")
    try:
        warnings = validate_files(given.arguments, file_format=file_format)
    except ConfigInvalid as error:
        context.output.error(f"Config validation failed: {error}")
        return 1
    if not given.switch("quiet"):
        for warning in warnings:
            context.output.error(f"Warning: {warning}")
        context.output.line("Configuration is valid!")
    return 0
