"""`mesh members`. Source: command-line specification, members."""

import re

from base.errors import InvalidRequest
from mesh.cli.context import Context
from structs.cluster import Member

EXIT_NOTHING = 2
TYPES = {"consul": "server", "node": "client"}


def members(context: Context) -> int:
    """Print the members that match, or exit 2 and print nothing."""
    given = context.given
    try:
        status = re.compile(given.text("status", ".*"))
    except re.error as error:
        raise InvalidRequest(f"Failed to compile status regexp: {error}") from error
    wanted = given.text("segment", "_all")
    found = [
        member
        for member in context.client.agent.members(wan=given.switch("wan"))
        if status.search(_status(member)) and (wanted == "_all" or member.tags.get("segment", "") == wanted)
    ]
    if not found:
        return EXIT_NOTHING
    found.sort(key=lambda member: (_segment(member), member.name))
    if given.switch("detailed"):
        rows = [["Node", "Address", "Status", "Tags"]]
        rows += [[member.name, _address(member), _status(member), _tags(member)] for member in found]
    else:
        rows = [["Node", "Address", "Status", "Type", "Build", "Protocol", "DC", "Segment"]]
        rows += [_row(member) for member in found]
    context.output.table(rows)
    return 0


def _row(member: Member) -> list[str]:
    tags = member.tags
    return [
        member.name,
        _address(member),
        _status(member),
        TYPES.get(tags.get("role", ""), "unknown"),
        tags.get("build", "").partition(":")[0] or "< 0.3",
        tags.get("vsn", "2"),
        tags.get("dc", ""),
        _segment(member),
    ]


def _address(member: Member) -> str:
    return f"[{member.address}]:{member.port}" if ":" in member.address else f"{member.address}:{member.port}"


def _status(member: Member) -> str:
    return member.status.name.lower()


def _segment(member: Member) -> str:
    if TYPES.get(member.tags.get("role", "")) == "server":
        return "<all>"
    return member.tags.get("segment", "") or "<default>"


def _tags(member: Member) -> str:
    return ",".join(f"{key}={value}" for key, value in sorted(member.tags.items()))
