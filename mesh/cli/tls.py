"""`mesh tls ca create`, `mesh tls cert create`: the certificates of the servers and agents themselves.

File names and output are those operators know. Never overwrites; keys are readable by their owner only.
"""

from pathlib import Path

from base.errors import ConfigInvalid, InvalidRequest
from mesh.cli.context import Context
from mesh.cli.output import Output

DOMAIN, DATACENTER = "consul", "dc1"

SERVER_WARNING = """==> WARNING: Server Certificates grants authority to become a
    server and access all state in the cluster including root keys
    and all ACL tokens. Do not distribute them to production hosts
    that are not server nodes. Store them as securely as CA keys."""


def ca_create(context: Context) -> int:
    """Make an authority in the current folder."""
    from rpc.certificates import AUTHORITY_DAYS, make_authority

    given = context.given
    _no_arguments(context)
    extra = tuple(given.texts("additional-name-constraint"))
    constrained = given.switch("name-constraint")
    if extra and not constrained:
        raise InvalidRequest("-additional-name-constraint needs -name-constraint")
    try:
        made = make_authority(
            Path(),
            domain=given.text("domain", DOMAIN),
            days=given.number("days", AUTHORITY_DAYS),
            constrained=constrained,
            extra_constraints=extra,
        )
    except (ConfigInvalid, OSError, OverflowError) as error:
        return _failed(context.output, error)
    context.output.line(f"==> Saved {made.certificate}")
    context.output.line(f"==> Saved {made.key}")
    return 0


def cert_create(context: Context) -> int:
    """Make a certificate for a server or an agent in the current folder."""
    from rpc.certificates import CERTIFICATE_DAYS, make_client_certificate, make_server_certificate

    given = context.given
    _no_arguments(context)
    server = given.switch("server")
    if server == given.switch("client"):
        raise InvalidRequest("Please provide either -server or -client")
    domain = given.text("domain", DOMAIN)
    ca = given.text("ca", "#DOMAIN#-agent-ca.pem").replace("#DOMAIN#", domain)
    key = given.text("key", "#DOMAIN#-agent-ca-key.pem").replace("#DOMAIN#", domain)
    if server:
        context.output.error(SERVER_WARNING)
    context.output.line(f"==> Using {ca} and {key}")
    make = make_server_certificate if server else make_client_certificate
    try:
        made = make(
            Path(),
            ca_file=Path(ca),
            ca_key_file=Path(key),
            datacenter=given.text("dc", DATACENTER),
            domain=domain,
            days=given.number("days", CERTIFICATE_DAYS),
            dns_names=tuple(given.texts("additional-dnsname")),
            ip_addresses=tuple(given.texts("additional-ipaddress")),
        )
    except (ConfigInvalid, OSError, OverflowError) as error:
        return _failed(context.output, error)
    context.output.line(f"==> Saved {made.certificate}")
    context.output.line(f"==> Saved {made.key}")
    return 0


def _no_arguments(context: Context) -> None:
    if context.given.arguments:
        raise InvalidRequest(f"unexpected argument {context.given.arguments[0]!r}")


def _failed(output: Output, error: Exception) -> int:
    if isinstance(error, OSError):
        output.error(f"Error! {error.filename}: {error.strerror}")
    elif isinstance(error, OverflowError):
        output.error("Error! -days is too large")
    else:
        output.error(f"Error! {error}")
    return 1
