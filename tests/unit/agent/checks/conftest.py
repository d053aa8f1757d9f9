"""What tests of several kinds need."""

import ssl
from pathlib import Path

import pytest

from rpc.certificates import make_authority, make_server_certificate


@pytest.fixture
def server_tls(tmp_path: Path) -> ssl.SSLContext:
    """TLS of a server named server.dc1.consul whose authority nobody trusts by itself."""
    authority = make_authority(tmp_path, domain="consul", days=10)
    made = make_server_certificate(
        tmp_path, ca_file=authority.certificate, ca_key_file=authority.key, datacenter="dc1", domain="consul", days=10
    )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(made.certificate, made.key)
    context.set_alpn_protocols(["h2"])
    return context
