"""/v1/acl and /v1/agent/token: access control is off, which clients are told. Source: HTTP API, sections 1 and 14.

Every path that either token system ever had answers 401, so that a client which looks for them knows what to think.
"""

from acl.access import AGENT_WRITE, NOBODY
from agent.http.errors import OUTCOME_REFUSED
from agent.http.registry import RequestContext, route
from agent.http.response import Response, text_response

DISABLED_TEXT = "ACL support disabled"
TOKENS = frozenset(
    {
        "acl_token",
        "acl_agent_token",
        "acl_agent_master_token",
        "acl_replication_token",
        "default",
        "agent",
        "agent_master",
        "agent_recovery",
        "replication",
        "config_file_service_registration",
        "dns",
    }
)
"""Old and new names of the tokens that an agent can be given."""
PATHS: dict[str, tuple[str, ...]] = {
    "/v1/acl/auth-method": ("PUT",),
    "/v1/acl/auth-method/": ("GET", "PUT", "DELETE"),
    "/v1/acl/auth-methods": ("GET",),
    "/v1/acl/authorize": ("POST",),
    "/v1/acl/binding-rule": ("PUT",),
    "/v1/acl/binding-rule/": ("GET", "PUT", "DELETE"),
    "/v1/acl/binding-rules": ("GET",),
    "/v1/acl/bootstrap": ("PUT",),
    "/v1/acl/clone/": ("PUT",),
    "/v1/acl/create": ("PUT",),
    "/v1/acl/destroy/": ("PUT",),
    "/v1/acl/info/": ("GET",),
    "/v1/acl/list": ("GET",),
    "/v1/acl/login": ("POST",),
    "/v1/acl/logout": ("POST",),
    "/v1/acl/policies": ("GET",),
    "/v1/acl/policy": ("PUT",),
    "/v1/acl/policy/": ("GET", "PUT", "DELETE"),
    "/v1/acl/policy/name/": ("GET",),
    "/v1/acl/replication": ("GET",),
    "/v1/acl/role": ("PUT",),
    "/v1/acl/role/": ("GET", "PUT", "DELETE"),
    "/v1/acl/role/name/": ("GET",),
    "/v1/acl/roles": ("GET",),
    "/v1/acl/rules/translate": ("POST",),
    "/v1/acl/rules/translate/": ("GET",),
    "/v1/acl/templated-policies": ("GET",),
    "/v1/acl/token": ("PUT",),
    "/v1/acl/token/": ("GET", "PUT", "DELETE"),
    "/v1/acl/token/self": ("GET",),
    "/v1/acl/tokens": ("GET",),
    "/v1/acl/update": ("PUT",),
}


def disabled(context: RequestContext) -> Response:
    """Access control is off: always 401 `ACL support disabled`."""
    return text_response(401, DISABLED_TEXT, headers=OUTCOME_REFUSED if context.method != "GET" else b"")


for _path, _methods in PATHS.items():
    for _method in _methods:
        route(_path, _method, access=NOBODY, is_write=_method != "GET")(disabled)


@route("/v1/agent/token/", "PUT", access=AGENT_WRITE, is_write=True)
def token(context: RequestContext) -> Response:
    """Give the agent a token to use: 404 for a name that none has, else 401, since access control is off."""
    if context.remainder not in TOKENS:
        return text_response(404, f'Token "{context.remainder}" is unknown', headers=OUTCOME_REFUSED)
    return disabled(context)
