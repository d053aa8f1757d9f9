"""`mesh event`. Source: command-line specification, event."""

from base.errors import InvalidRequest, MeshError
from base.patterns import Pattern
from mesh.cli.context import Context

FILTERS = ("node", "service", "tag")


def event(context: Context) -> int:
    """Fire a user event and print its id."""
    given = context.given
    name = given.text("name")
    if not name:
        context.output.error("Event name must be specified")
        return 1
    if len(given.arguments) > 1:
        context.output.error("Too many command line arguments.")
        return 1
    filters = {what: given.text(what) for what in FILTERS}
    for what, text in filters.items():
        try:
            Pattern(text)
        except InvalidRequest as error:
            context.output.error(f"Error compiling {what} filter regexp: {error}")
            return 1
    payload = given.arguments[0].encode("utf-8", "surrogateescape") if given.arguments else b""
    try:
        event_id = context.client.event.fire(name, payload, **filters)
    except MeshError as error:
        context.output.error(f"Error firing event: {error}")
        return 1
    context.output.line(f"Event ID: {event_id}")
    return 0
