"""/debug/tasks: what every task of the process waits for. Source: HTTP API, section 16; ours is about tasks."""

from collections.abc import Iterator
from types import FrameType

import trio

from acl.access import OPERATOR_READ
from agent.http.dispatch import NOT_THE_API_TEXT
from agent.http.registry import RequestContext, route
from agent.http.response import Response, text_response

LINES_MAX = 20_000
DEPTH_MAX = 64
FRAMES_MAX = 8


@route("/debug/tasks", "GET", access=OPERATOR_READ, is_write=False)
def tasks(context: RequestContext) -> Response:
    """Return the tree of tasks, one a line with the places it waits at; 404 unless `enable_debug` is set."""
    if not context.settings.debug_enabled:
        return text_response(404, NOT_THE_API_TEXT)
    root = trio.lowlevel.current_root_task()
    lines: list[str] = []
    if root is not None:
        for line in _lines(root, 0):
            if len(lines) == LINES_MAX:
                lines.append("...")
                break
            lines.append(line)
    return text_response(200, "\n".join(lines) + "\n")


def _lines(task: trio.lowlevel.Task, depth: int) -> Iterator[str]:
    # The innermost places are always trio's own: what is worth reading stands before them.
    places = [f"{frame.f_code.co_qualname}:{line}" for frame, line in task.iter_await_frames()]
    yield f"{'  ' * depth}{task.name}: {' > '.join(places[:FRAMES_MAX])}"
    if depth < DEPTH_MAX:
        for nursery in task.child_nurseries:
            for child in nursery.child_tasks:
                yield from _lines(child, depth + 1)


def _is_trio(frame: FrameType) -> bool:
    return str(frame.f_globals.get("__name__", "")).startswith("trio.")
