"""CVE-2019-9764: verify_server_hostname was ignored, so an agent's certificate passed for a server's."""

import pytest

from base.errors import Unreachable
from rpc.certificates import make_server_certificate
from rpc.tls import make_contexts
from tests.fakes.certificates_of_test import authority, client_files, server_files, tls_config
from tests.fakes.rpc_pair import running_pair


async def test_a_server_that_shows_an_agents_certificate_is_refused() -> None:
    impostor = make_contexts(tls_config(client_files()))
    client = make_contexts(tls_config(server_files(), verify_server_hostname=True))
    async with running_pair(server_tls=impostor, client_tls=client) as pair:
        with pytest.raises(Unreachable):
            await pair.call("echo", b"x")
        assert not pair.served.callers


async def test_a_wildcard_makes_nobody_a_server() -> None:
    folder, ca = authority("consul")
    files = make_server_certificate(
        folder, ca_file=ca.certificate, ca_key_file=ca.key, datacenter="elsewhere", dns_names=("*.dc1.consul",)
    )
    impostor = make_contexts(tls_config(files))
    client = make_contexts(tls_config(server_files(), verify_server_hostname=True))
    async with running_pair(server_tls=impostor, client_tls=client) as pair:
        with pytest.raises(Unreachable, match=r"is not server\.dc1\.consul"):
            await pair.call("echo", b"x")
