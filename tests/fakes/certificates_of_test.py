"""A CA and certificates for tests, made once a run."""

from functools import cache
from pathlib import Path
from tempfile import mkdtemp

import msgspec

from rpc.certificates import MadeFiles, make_authority, make_client_certificate, make_server_certificate
from rpc.tls import TLSConfig


@cache
def authority(name: str) -> tuple[Path, MadeFiles]:
    """Return a folder and the CA in it; another `name` is another CA."""
    folder = Path(mkdtemp(prefix=f"mesh-test-ca-{name}-"))
    return folder, make_authority(folder)


@cache
def server_files(ca: str = "consul", datacenter: str = "dc1") -> MadeFiles:
    """Return a server's certificate."""
    folder, made = authority(ca)
    return make_server_certificate(folder, ca_file=made.certificate, ca_key_file=made.key, datacenter=datacenter)


@cache
def client_files(ca: str = "consul", dns_names: tuple[str, ...] = ()) -> MadeFiles:
    """Return an agent's certificate."""
    folder, made = authority(ca)
    return make_client_certificate(folder, ca_file=made.certificate, ca_key_file=made.key, dns_names=dns_names)


def tls_config(files: MadeFiles | None, *, ca: str = "consul", **options: bool) -> TLSConfig:
    """Return a config that trusts `ca` and shows `files`."""
    _, made = authority(ca)
    config = TLSConfig(
        ca_file=str(made.certificate),
        cert_file=str(files.certificate) if files else "",
        key_file=str(files.key) if files else "",
    )
    return msgspec.structs.replace(config, **options)
