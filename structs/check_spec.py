"""What an agent is told of a check: how to find out its status, and when.

Source: agent specification, sections 3 and 4.

The catalog's record of a check is `structs.catalog.HealthCheck`; a `CheckSpec` never leaves its agent.
"""

from base.codec import Record


class CheckSpec(Record, frozen=True, kw_only=True):
    """One check of one agent. Exactly one way to find out is set: see `kind`. Times in seconds, 0: not set."""

    check_id: str
    name: str
    notes: str = ""
    service_id: str = ""
    """"": a check of the node."""
    status: str = ""
    """To begin with; "": critical."""

    ttl_s: float = 0.0
    interval_s: float = 0.0
    timeout_s: float = 0.0
    deregister_after_s: float = 0.0

    http: str = ""
    method: str = ""
    header: dict[str, list[str]] | None = None
    body: str = ""
    disable_redirects: bool = False
    tcp: str = ""
    tcp_use_tls: bool = False
    udp: str = ""
    grpc: str = ""
    grpc_use_tls: bool = False
    h2ping: str = ""
    h2ping_use_tls: bool = True
    tls_server_name: str = ""
    tls_skip_verify: bool = False
    args: list[str] = []
    docker_container_id: str = ""
    shell: str = ""
    alias_node: str = ""
    alias_service: str = ""
    """Id of the service whose health it mirrors."""

    success_before_passing: int = 0
    failures_before_warning: int = 0
    """0: as many as before critical."""
    failures_before_critical: int = 0
    output_bytes_max: int = 0
    """0: the agent's."""

    @property
    def kind(self) -> str:
        """http, tcp, udp, grpc, h2ping, docker, script, alias or ttl; "" where no way is set (maintenance)."""
        for kind, is_set in (
            ("http", self.http),
            ("tcp", self.tcp),
            ("udp", self.udp),
            ("grpc", self.grpc),
            ("h2ping", self.h2ping),
            ("docker", self.docker_container_id),
            ("script", self.args),
            ("alias", self.alias_node or self.alias_service),
            ("ttl", self.ttl_s),
        ):
            if is_set:
                return kind
        return ""
