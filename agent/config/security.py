"""What TLS options imply and which contradict one another, decided once.

Sources: agent specification, section 2 (defaults of the flat keys); modern deltas, section 11 (sections of `tls`);
published weaknesses CVE-2018-19653 (verify_server_hostname without verify_outgoing dialled without TLS) and
CVE-2019-9764 (checks silently not done where the certificate authority was missing).
"""

from collections.abc import Callable, Mapping
from typing import Any

from agent.config.runtime import TLSSettings

Complain = Callable[[str, str], None]

_MINIMUM = {
    "": "1.2",
    "TLS_AUTO": "1.2",
    "tls10": "",
    "tls11": "",
    "TLSv1_0": "",
    "TLSv1_1": "",
    "tls12": "1.2",
    "TLSv1_2": "1.2",
    "tls13": "1.3",
    "TLSv1_3": "1.3",
}
"""Spelling -> oldest version spoken; "" is older than we speak, and raised to 1.2."""


def tls_settings(
    values: Mapping[str, Any], *, datacenter: str, domain: str, https: bool, complain: Complain
) -> tuple[TLSSettings, TLSSettings]:
    """Return the settings between members and of HTTPS, with everything implied switched on."""
    hostname: bool = values["tls.internal_rpc.verify_server_hostname"]
    common = {"server_name": values["server_name"], "datacenter": datacenter, "domain": domain}
    internal = _section(values, "internal_rpc", verify_server_hostname=hostname, **common)
    outer = _section(values, "https", verify_server_hostname=False, **common)
    _complain_internal(internal, complain)
    if https:
        if not (outer.cert_file and outer.key_file):
            complain("ports.https", "HTTPS needs tls.https.cert_file and tls.https.key_file")
        if outer.verify_incoming and not _trusts(outer):
            complain("tls.https.verify_incoming", "VerifyIncoming set, and no CA certificate provided!")
    assert internal.verify_outgoing or not internal.verify_server_hostname
    return internal, outer


def _section(values: Mapping[str, Any], section: str, *, verify_server_hostname: bool, **common: str) -> TLSSettings:
    def own_or_default(name: str) -> Any:
        own = values[f"tls.{section}.{name}"]
        return own if own not in (None, "") else values[f"tls.defaults.{name}"]

    return TLSSettings(
        ca_file=own_or_default("ca_file"),
        ca_path=own_or_default("ca_path"),
        cert_file=own_or_default("cert_file"),
        key_file=own_or_default("key_file"),
        version_min=_MINIMUM[own_or_default("tls_min_version")] or "1.2",
        verify_incoming=bool(own_or_default("verify_incoming")),
        verify_outgoing=bool(own_or_default("verify_outgoing")) or verify_server_hostname,
        verify_server_hostname=verify_server_hostname,
        **common,
    )


def _trusts(settings: TLSSettings) -> bool:
    return bool(settings.ca_file or settings.ca_path)


def _complain_internal(settings: TLSSettings, complain: Complain) -> None:
    if bool(settings.cert_file) != bool(settings.key_file):
        complain("tls.internal_rpc.cert_file", "a certificate and its key belong together: set cert_file and key_file")
    if settings.verify_outgoing and not _trusts(settings):
        complain("tls.internal_rpc.verify_outgoing", "VerifyOutgoing set, and no CA certificate provided!")
    if settings.verify_incoming and not _trusts(settings):
        complain("tls.internal_rpc.verify_incoming", "VerifyIncoming set, and no CA certificate provided!")
    if settings.verify_incoming and not settings.cert_file:
        complain("tls.internal_rpc.verify_incoming", "VerifyIncoming set, and no Cert/Key pair provided!")
