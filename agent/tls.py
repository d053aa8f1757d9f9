"""From the configuration's TLS settings to contexts; modules that need certificates are loaded only where used."""

from agent.config.runtime import RuntimeConfig, TLSSettings
from rpc.tls import TLSConfig, TLSContexts, make_contexts


def internal_tls(config: RuntimeConfig) -> TLSContexts | None:
    """Return the contexts of RPC and Raft, None where they are in the clear; raises ConfigInvalid."""
    return make_contexts(tls_config(config.internal_tls))


def tls_config(settings: TLSSettings) -> TLSConfig:
    """Return what rpc/tls.py takes."""
    return TLSConfig(
        ca_file=settings.ca_file,
        ca_path=settings.ca_path,
        cert_file=settings.cert_file,
        key_file=settings.key_file,
        verify_incoming=settings.verify_incoming,
        verify_outgoing=settings.verify_outgoing,
        verify_server_hostname=settings.verify_server_hostname,
        server_name=settings.server_name,
        datacenter=settings.datacenter,
        domain=settings.domain,
        version_min=settings.version_min,
    )
