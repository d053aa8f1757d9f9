"""/v1/agent/check*: this agent's own checks. Source: HTTP API, section 1; modern deltas, section 5."""

from acl.access import AGENT_WRITE, node_read, node_write
from agent.http.agent_services import body_of, own_token, registration_rule
from agent.http.filtering import filtered_map
from agent.http.registry import RequestContext, route
from agent.http.response import Response, json_response
from agent.local.definitions import check_from_api
from base.errors import InvalidRequest, Refused
from structs.catalog import CheckStatus
from structs.catalog_json import CheckJSON, check_json
from structs.json_codec import Fields


@route("/v1/agent/checks", "GET", access=node_read(), is_write=False)
def checks(context: RequestContext) -> Response:
    """Return this agent's checks by id. `filter`: an expression over one check."""
    found = context.agent.local.state.checks
    rows = {check_id: check_json(found[check_id].check) for check_id in found}
    return json_response(filtered_map(context, rows, CheckJSON))


@route("/v1/agent/check/register", "PUT", access=node_write("node"), is_write=True, rule_of=registration_rule)
async def register(context: RequestContext) -> Response:
    """Register a check of this node or, with `ServiceID`, of a service of this agent; the same id is replaced."""
    definition = check_from_api(body_of(context))
    await context.agent.local.register_check(definition.spec, token=own_token(context))
    return Response(200)


@route("/v1/agent/check/deregister/", "PUT", access=node_write("node"), is_write=True)
async def deregister(context: RequestContext) -> Response:
    """Deregister a check by its id. 404 for an unknown one."""
    if not context.remainder:
        raise Refused("CheckID missing")
    await context.agent.local.deregister_check(context.remainder)
    return Response(200)


@route("/v1/agent/check/pass/", "PUT", access=node_write("node"), is_write=True)
def pass_(context: RequestContext) -> Response:
    """Say that a TTL check passes, with a `note`; its time begins anew. 404 for an unknown one."""
    return _spoken(context, CheckStatus.PASSING)


@route("/v1/agent/check/warn/", "PUT", access=node_write("node"), is_write=True)
def warn(context: RequestContext) -> Response:
    """The same for a warning."""
    return _spoken(context, CheckStatus.WARNING)


@route("/v1/agent/check/fail/", "PUT", access=node_write("node"), is_write=True)
def fail(context: RequestContext) -> Response:
    """The same for a critical one."""
    return _spoken(context, CheckStatus.CRITICAL)


def _spoken(context: RequestContext, status: CheckStatus) -> Response:
    context.agent.local.update_ttl(context.remainder, status.value, context.query.get("note"))
    return Response(200)


@route("/v1/agent/check/update/", "PUT", access=node_write("node"), is_write=True, rule_of=registration_rule)
def update(context: RequestContext) -> Response:
    """Say how a TTL check stands: `Status` and `Output`, which is cut where it is too long."""
    try:
        fields = Fields(body_of(context), "body")
        status, output = fields.text("Status"), fields.text("Output")
    except InvalidRequest as error:
        text = str(error)
        raise InvalidRequest(text if text.startswith("Request") else f"Request decode failed: {text}") from error
    context.agent.local.update_ttl(context.remainder, status, output)
    return Response(200)


@route("/v1/agent/reload", "PUT", access=AGENT_WRITE, is_write=True)
async def reload(context: RequestContext) -> Response:
    """Read the configuration again and take from it what may change; 500 with what is wrong with it."""
    await context.agent.reload()
    return Response(200)
