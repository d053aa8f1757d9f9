"""Makes the CA and the certificates of the servers and agents themselves (not those of the mesh's services).

Names and files are those of the tool operators know: `<domain>-agent-ca.pem`, `<dc>-server-<domain>-0.pem`, and so on.
Nothing is ever overwritten, keys are readable by their owner only.

Imports `cryptography`, which is large: import this module only where certificates are made.
"""

import os
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path
from typing import Final

import msgspec
from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from base.errors import ConfigInvalid

AUTHORITY_DAYS: Final = 5 * 365
CERTIFICATE_DAYS: Final = 365
FILES_NUMBERED_MAX: Final = 10_000
"""Certificates of one kind in one folder; the next free number is looked for up to here."""
BACKDATED: Final = timedelta(minutes=5)
"""Clocks of other machines may be behind ours."""
PUBLIC_MODE: Final = 0o644
PRIVATE_MODE: Final = 0o600


class MadeFiles(msgspec.Struct, frozen=True, kw_only=True):
    """The two files that were written."""

    certificate: Path
    key: Path


def make_authority(
    folder: Path,
    *,
    domain: str = "consul",
    days: int = AUTHORITY_DAYS,
    constrained: bool = False,
    extra_constraints: tuple[str, ...] = (),
) -> MadeFiles:
    """Write a new CA into `folder`; with `constrained` it can sign only names under `domain`, `extra_constraints`
    and localhost. Raises ConfigInvalid if its files exist or the input is unusable, OSError."""
    _ascii(domain)
    files = MadeFiles(certificate=folder / f"{domain}-agent-ca.pem", key=folder / f"{domain}-agent-ca-key.pem")
    for path in (files.certificate, files.key):
        if path.exists():
            raise ConfigInvalid(f"{path} already exists")
    key = ec.generate_private_key(ec.SECP256R1())
    serial = x509.random_serial_number()
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, f"{domain.title()} Agent CA {serial}")])
    builder = (
        _builder(name, name, key.public_key(), days, serial)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_key_usage(signs=True), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
    )
    if constrained or extra_constraints:
        allowed = [x509.DNSName(_ascii(one)) for one in (domain, "localhost", *extra_constraints)]
        builder = builder.add_extension(x509.NameConstraints(allowed, None), critical=True)
    _write_both(files, builder.sign(key, hashes.SHA256()), key)
    return files


def make_server_certificate(
    folder: Path,
    *,
    ca_file: Path,
    ca_key_file: Path,
    datacenter: str = "dc1",
    domain: str = "consul",
    days: int = CERTIFICATE_DAYS,
    dns_names: tuple[str, ...] = (),
    ip_addresses: tuple[str, ...] = (),
) -> MadeFiles:
    """Write a server's certificate: whoever holds it may speak Raft. Raises ConfigInvalid, OSError."""
    return _make_leaf(folder, "server", ca_file, ca_key_file, datacenter, domain, days, dns_names, ip_addresses)


def make_client_certificate(
    folder: Path,
    *,
    ca_file: Path,
    ca_key_file: Path,
    datacenter: str = "dc1",
    domain: str = "consul",
    days: int = CERTIFICATE_DAYS,
    dns_names: tuple[str, ...] = (),
    ip_addresses: tuple[str, ...] = (),
) -> MadeFiles:
    """Write an agent's certificate: it proves membership, but no server. Raises ConfigInvalid, OSError."""
    server_host = f"server.{datacenter}.{domain}".lower()
    if any(name.lower() == server_host or name.startswith("*") for name in dns_names):
        raise ConfigInvalid(f"an agent's certificate may not have the name {server_host} or a wildcard")
    return _make_leaf(folder, "client", ca_file, ca_key_file, datacenter, domain, days, dns_names, ip_addresses)


def _make_leaf(
    folder: Path,
    kind: str,
    ca_file: Path,
    ca_key_file: Path,
    datacenter: str,
    domain: str,
    days: int,
    dns_names: tuple[str, ...],
    ip_addresses: tuple[str, ...],
) -> MadeFiles:
    authority, authority_key = _load_authority(ca_file, ca_key_file)
    host = f"{kind}.{datacenter}.{domain}"
    key = ec.generate_private_key(ec.SECP256R1())
    names: list[x509.GeneralName] = []
    for name in dict.fromkeys((host, "localhost", *dns_names)):
        names.append(x509.DNSName(_ascii(name)))
    for text in dict.fromkeys(("127.0.0.1", *ip_addresses)):
        try:
            names.append(x509.IPAddress(ip_address(text)))
        except ValueError as error:
            raise ConfigInvalid(f"{text!r} is no IP address") from error
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, host)])
    certificate = (
        _builder(subject, authority.subject, key.public_key(), days, x509.random_serial_number())
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_key_usage(signs=False), critical=True)
        .add_extension(
            # Servers dial servers, and agents serve HTTPS with the same certificate: each is on both sides.
            x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]),
            critical=False,
        )
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(authority_key.public_key()), critical=False)
        .sign(authority_key, hashes.SHA256())
    )
    for number in range(FILES_NUMBERED_MAX):
        stem = f"{datacenter}-{kind}-{domain}-{number}"
        files = MadeFiles(certificate=folder / f"{stem}.pem", key=folder / f"{stem}-key.pem")
        if not (files.certificate.exists() or files.key.exists()):
            _write_both(files, certificate, key)
            return files
    raise ConfigInvalid(f"{folder} already holds {FILES_NUMBERED_MAX} {kind} certificates")


def _load_authority(ca_file: Path, ca_key_file: Path) -> tuple[x509.Certificate, ec.EllipticCurvePrivateKey]:
    try:
        authority = x509.load_pem_x509_certificate(ca_file.read_bytes())
    except ValueError as error:
        raise ConfigInvalid(f"{ca_file} holds no certificate") from error
    try:
        key = serialization.load_pem_private_key(ca_key_file.read_bytes(), password=None)
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise ConfigInvalid(f"{ca_key_file} holds no usable private key") from error
    if not isinstance(key, ec.EllipticCurvePrivateKey):
        raise ConfigInvalid(f"{ca_key_file} holds no elliptic-curve key")
    if key.public_key() != authority.public_key():
        raise ConfigInvalid(f"{ca_key_file} is not the key of {ca_file}")
    try:
        authority.verify_directly_issued_by(authority)
    except (ValueError, TypeError, InvalidSignature) as error:
        raise ConfigInvalid(f"{ca_file} is no self-signed CA") from error
    return authority, key


def _builder(
    subject: x509.Name, issuer: x509.Name, public_key: ec.EllipticCurvePublicKey, days: int, serial: int
) -> x509.CertificateBuilder:
    if days < 1:
        raise ConfigInvalid(f"a certificate cannot last {days} days")
    now = datetime.now(UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(public_key)
        .serial_number(serial)
        .not_valid_before(now - BACKDATED)
        .not_valid_after(now + timedelta(days=days))
    )


def _key_usage(*, signs: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=True,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=signs,
        crl_sign=signs,
        encipher_only=False,
        decipher_only=False,
    )


def _ascii(name: str) -> str:
    if not name or not name.isascii() or any(character.isspace() or character == "/" for character in name):
        raise ConfigInvalid(f"{name!r} is no DNS name")
    return name


def _write_both(files: MadeFiles, certificate: x509.Certificate, key: ec.EllipticCurvePrivateKey) -> None:
    files.certificate.parent.mkdir(parents=True, exist_ok=True)
    _write_new(
        files.key,
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()),
        PRIVATE_MODE,
    )
    _write_new(files.certificate, certificate.public_bytes(serialization.Encoding.PEM), PUBLIC_MODE)


def _write_new(path: Path, data: bytes, mode: int) -> None:
    """Write a file that did not exist, under its mode from the first moment."""
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode)
    except FileExistsError as error:
        raise ConfigInvalid(f"{path} already exists") from error
    with os.fdopen(descriptor, "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
