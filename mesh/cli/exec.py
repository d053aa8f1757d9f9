"""`mesh exec`: runs a command on the agents that allow it. Source: command-line specification, exec.

Agents do so only with `disable_remote_exec = false`: whoever may write keys and fire events may then run programs.
"""

import time

from base.durations import parse_duration_s
from base.errors import InvalidRequest, MeshError
from base.patterns import Pattern
from mesh.cli.context import Context
from mesh.query import Read
from mesh.remote_exec import (
    EVENT,
    PREFIX,
    RENEW_S,
    SESSION_TTL_S,
    Finished,
    Gathering,
    News,
    Printed,
    Told,
    job,
    payload,
)
from structs.query import Consistency
from structs.session import SessionBehavior

WAIT_S = 2.0
REPLICATION_WAIT_S = 0.2
FILTERS = ("node", "service", "tag")


def exec_(context: Context) -> int:
    """Fire the job, print what comes back, clean up."""
    given = context.given
    words, script = list(given.arguments), b""
    if words == ["-"]:
        words, script = [], context.content("-")
    if not words and not script:
        context.output.error("Must specify a command to execute")
        return 1
    filters = {what: given.text(what) for what in FILTERS}
    for what, text in filters.items():
        try:
            Pattern(text)
        except InvalidRequest as error:
            context.output.error(f"Failed to compile {what} filter regexp: {error}")
            return 1
    if filters["tag"] and not filters["service"]:
        context.output.error("Cannot provide tag filter without service filter.")
        return 1
    wait_s = _seconds(given.text("wait"), WAIT_S)
    pause_s = _seconds(given.text("wait-repl"), REPLICATION_WAIT_S)
    body = job(words, script=script, wait_s=wait_s, shell=given.switch("shell") or not given.is_given("shell"))
    prefix = (given.text("prefix") or PREFIX).strip("/")
    client = context.client
    node = str(client.agent.self().get("Config", {}).get("NodeName", ""))
    try:
        session = client.session.create(
            name=f"Remote Exec via {node}", ttl_s=SESSION_TTL_S, behavior=SessionBehavior.DELETE
        )
    except MeshError as error:
        context.output.error(f"Failed to create session: {error}")
        return 1
    folder = f"{prefix}/{session}/"
    try:
        if not client.kv.acquire(f"{folder}job", body, session):
            context.output.error("Failed to create job file: the key is locked")
            return 1
        client.pause(pause_s)
        event_id = client.event.fire(EVENT, payload(session, prefix), **filters)
        _say(context, f"Fired remote execution event. ID: {event_id}")
        return _gather(context, folder, session, wait_s)
    finally:
        _clean(context, folder, session)


def _gather(context: Context, folder: str, session: str, wait_s: float) -> int:
    gathering = Gathering(folder)
    index = 0
    now_s = time.monotonic()
    heard_s = renewed_s = now_s
    while (left_s := heard_s + wait_s * gathering.patience_factor - now_s) > 0:
        read = Read(consistency=Consistency.CONSISTENT, index=index, wait_s=max(0.01, min(left_s, RENEW_S)))
        answer = context.client.kv.read_keys(folder, "", read)
        now_s = time.monotonic()
        for key in gathering.unseen(answer.value):
            entry = context.client.kv.get(key)
            news = gathering.take(key, entry.value) if entry is not None else None
            if news is not None:
                heard_s = now_s
                _tell(context, news)
        if answer.index <= index and now_s - renewed_s < RENEW_S:
            context.client.pause(min(0.05, max(0.0, left_s)))  # whatever does not block must not make us spin
        index = max(answer.index, 1)
        if now_s - renewed_s >= RENEW_S:
            renewed_s = now_s
            if context.client.session.renew(session) is None:
                context.output.error("Session was invalidated")
                return 1
        now_s = time.monotonic()
    finished, acknowledged = len(gathering.finished), len(gathering.acknowledged)
    context.output.line(f"==> {finished} / {acknowledged} node(s) completed / acknowledged")
    return gathering.exit_code()


def _tell(context: Context, news: News) -> None:
    if isinstance(news, Printed):
        for line in news.data.decode("utf-8", "replace").removesuffix("\n").split("\n"):
            context.output.line(f"    {news.node}: {line}")
    elif isinstance(news, Told):
        _say(context, f"    {news.node}: {news.what}")
    elif isinstance(news, Finished):
        shown = "?" if news.code is None else news.code
        context.output.line(f"==> {news.node}: finished with exit code {shown}")


def _clean(context: Context, folder: str, session: str) -> None:
    try:
        context.client.session.destroy(session)
        context.client.kv.delete_tree(folder)
    except MeshError as error:
        context.output.error(f"Failed to clean up, the session's end does it: {error}")


def _seconds(text: str, default_s: float) -> float:
    if not text:
        return default_s
    try:
        return max(0.0, parse_duration_s(text))
    except ValueError as error:
        raise InvalidRequest(str(error)) from error


def _say(context: Context, text: str) -> None:
    if context.given.switch("verbose"):
        context.output.error(text)
