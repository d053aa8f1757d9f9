"""What checks need of the rest of the agent, and what they are told."""

from collections.abc import Callable
from typing import Protocol

import msgspec

from structs.catalog import HealthCheck

OUTPUT_BYTES_MAX = 4096

Report = Callable[[str, str, str], None]
"""Takes check id, status and output; called in the event loop, and does not wait."""


class LocalChecks(Protocol):
    """The agent's own services and checks."""

    def checks_of_service(self, service_id: str) -> list[HealthCheck] | None:
        """Return the checks of a service and those of the node; None: unknown service. "": those of the node only."""

    def subscribe(self, changed: Callable[[], None]) -> Callable[[], None]:
        """Call `changed` after every change of a check or service; returns what takes that back."""


class CheckSettings(msgspec.Struct, frozen=True, kw_only=True):
    """What an agent's configuration says about checks. Files are paths or ""."""

    node_name: str
    output_bytes_max: int = OUTPUT_BYTES_MAX
    """`check_output_max_size`; a check may ask for less, never for more."""
    scripts_from_anywhere: bool = False
    """`enable_script_checks`: programs of definitions from files and from the API."""
    scripts_from_files: bool = False
    """`enable_local_script_checks`: programs of definitions from files."""
    asking_max: int = 256
    """Checks that wait for an answer from the network at one time; each has a socket or two."""
    processes_max: int = 32
    """Programs that run at one time, in containers too."""
    checks_max: int = 65_536
    """Checks of one agent."""
    token: str = ""
    """With which other nodes' checks are asked for."""
    docker_host: str = ""
    """`unix://PATH` or `tcp://HOST:PORT`; "": DOCKER_HOST of the environment, else the usual socket."""
    tls_ca_file: str = ""
    """`enable_agent_tls_for_checks`: the agent's authority, certificate and key; "": the system's, none."""
    tls_cert_file: str = ""
    tls_key_file: str = ""


class Result(msgspec.Struct, frozen=True):
    """What one run of a check found."""

    status: str
    output: str
