"""Sans-IO. What a registration must be, and what it leaves out. Source: HTTP API, section 2.

Asked at the border, never in a replay: a rule that gets tighter must not change what a log means.
"""

import string

from msgspec.structs import replace

from base.codec import encode
from base.errors import InvalidRequest, Refused, TooLarge
from base.nesting import LEVELS_MAX, is_deeper
from structs import metadata
from structs.catalog import (
    CONNECT_PROXY,
    CheckStatus,
    DeregisterCommand,
    HealthCheck,
    NodeService,
    RegisterCommand,
    Weights,
)

REGISTRATION_BYTES_MAX = 512 * 1024
"""One registration, encoded. It is one entry of the log, as a value of a key is."""
NAME_BYTES_MAX = 1024
"""A name or id of a node, service or check, in UTF-8: three of them, escaped, still fit into one key."""
ADDRESSES_OF_ALL = frozenset({"0.0.0.0", "::", "[::]"})  # noqa: S104  # refused, not bound
"""What one can listen on but not connect to."""
WEIGHT_MAX = 65535
"""What an SRV record can say."""
_DASHES = (8, 13, 18, 23)
_UUID_CHARACTERS = 36


def completed(command: RegisterCommand, *, datacenter: str) -> RegisterCommand:
    """Return a registration with what it leaves out filled in.

    Raises Refused, InvalidRequest or TooLarge if it can never succeed.
    """
    if not command.node:
        raise Refused("Must provide node")
    if not command.address and not command.skip_node_update:
        raise Refused("Must provide address if SkipNodeUpdate is not set")
    check_name("Node name", command.node)
    _check_node_id(command.node_id)
    _check_meta(command.node_meta)
    full = replace(
        command,
        node_id=command.node_id.lower(),
        datacenter=datacenter,
        service=_completed_service(command.service) if command.service is not None else None,
        checks=[_completed_check(check, command.node) for check in command.checks],
    )
    _check_encoding(full)
    return full


def check_deregistration(command: DeregisterCommand) -> None:
    """Raise Refused, InvalidRequest or TooLarge if a deregistration can never succeed."""
    if not command.node:
        raise Refused("Must provide node")
    for what, name in (
        ("Node name", command.node),
        ("Service ID", command.service_id),
        ("Check ID", command.check_id),
    ):
        check_name(what, name)
    _check_encoding(command)


def _completed_service(service: NodeService) -> NodeService:
    if not service.service:
        raise Refused("Must provide service name with ID")
    if service.address in ADDRESSES_OF_ALL:
        raise Refused("Invalid service address")
    check_name("Service name", service.service)
    check_name("Service ID", service.service_id)
    check_levels(service)
    service = _with_one_destination(service)
    complaints = _proxy_complaints(service) if service.kind == CONNECT_PROXY else []
    if complaints:
        count = "1 error" if len(complaints) == 1 else f"{len(complaints)} errors"
        raise Refused(f"{count} occurred:\n\n" + "\n".join(f"* {complaint}" for complaint in complaints))
    _check_meta(service.meta)
    _check_weights(service.weights)
    return replace(service, service_id=service.service_id or service.service)


def _with_one_destination(service: NodeService) -> NodeService:
    """Return a service whose two fields for what it is the proxy of agree; the newer one counts where both are set."""
    proxy = service.proxy
    if proxy is None or proxy.destination_service_name == service.proxy_destination:
        return service
    if proxy.destination_service_name:
        return replace(service, proxy_destination=proxy.destination_service_name)
    return replace(service, proxy=replace(proxy, destination_service_name=service.proxy_destination))


def _check_weights(weights: Weights) -> None:
    if weights.passing < 1:
        raise Refused("Passing must be greater than 0")
    if weights.warning < 0:
        raise Refused("Warning must be greater or equal than 0")
    if max(weights.passing, weights.warning) > WEIGHT_MAX:
        raise Refused(f"DNS Weight must be between 0 and {WEIGHT_MAX}")


def _proxy_complaints(service: NodeService) -> list[str]:
    complaints = []
    if not service.proxy_destination.strip():
        complaints.append("ProxyDestination must be non-empty for Connect proxy services")
    if not service.port:
        complaints.append("Port must be set for a Connect proxy")
    if service.connect.native:
        complaints.append("A Proxy cannot also be ConnectNative, only typical services")
    return complaints


def _completed_check(check: HealthCheck, node: str) -> HealthCheck:
    check_id = check.check_id or check.name
    if not check_id:
        raise Refused("Must provide a check ID or name")
    check_name("Check ID", check_id)
    check_name("Service ID", check.service_id)
    return replace(check, check_id=check_id, node=check.node or node, status=check.status or CheckStatus.CRITICAL.value)


def check_name(what: str, name: str) -> None:
    """Raise TooLarge or InvalidRequest if this can be nobody's name or id.

    What cannot be printed could be registered, but no path of the API could name it again.
    """
    size = len(name.encode(errors="surrogatepass"))
    if size > NAME_BYTES_MAX:
        raise TooLarge(f"{what} is too long ({size} > {NAME_BYTES_MAX} bytes)")
    if not name.isprintable():
        raise InvalidRequest(f"{what} has characters that cannot be printed")


def check_levels(service: NodeService) -> None:
    """Raise Refused if what is kept for a service is nested too deeply for every reader of it."""
    if is_deeper(service, LEVELS_MAX):
        raise Refused(f"the service is nested in more than {LEVELS_MAX} levels")


def _check_node_id(node_id: str) -> None:
    if not node_id:
        return
    if len(node_id) != _UUID_CHARACTERS:
        raise Refused("Bad node ID: uuid string is wrong length")
    if not is_uuid(node_id):
        raise Refused("Bad node ID: uuid is improperly formatted")


def is_uuid(text: str) -> bool:
    """Return whether this has the form of a UUID, in any case."""
    if len(text) != _UUID_CHARACTERS or any(text[position] != "-" for position in _DASHES):
        return False
    digits = [character for position, character in enumerate(text) if position not in _DASHES]
    return set(digits) <= set(string.hexdigits)


def _check_meta(meta: dict[str, str] | None) -> None:
    complaint = metadata.complaint(meta, reserved_allowed=True)
    if complaint:
        raise Refused(complaint)


def _check_encoding(command: RegisterCommand | DeregisterCommand) -> None:
    try:
        size = len(encode(command))
    except InvalidRequest as error:
        raise InvalidRequest(f"the request holds what is {error}") from error
    if size > REGISTRATION_BYTES_MAX:
        raise TooLarge(f"the registration is too large ({size} > {REGISTRATION_BYTES_MAX} bytes)")
