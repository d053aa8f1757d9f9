"""The maker of the servers' own certificates."""

from pathlib import Path

import pytest
from cryptography import x509
from cryptography.x509.verification import PolicyBuilder, Store, VerificationError

from base.errors import ConfigInvalid
from rpc.certificates import MadeFiles, make_authority, make_client_certificate, make_server_certificate


def load(path: Path) -> x509.Certificate:
    return x509.load_pem_x509_certificate(path.read_bytes())


def names_of(files: MadeFiles) -> x509.SubjectAlternativeName:
    return load(files.certificate).extensions.get_extension_for_class(x509.SubjectAlternativeName).value


def test_files_have_the_names_operators_know_and_keys_are_private(tmp_path: Path) -> None:
    ca = make_authority(tmp_path)
    for _ in range(2):
        make_server_certificate(tmp_path, ca_file=ca.certificate, ca_key_file=ca.key)
    make_client_certificate(tmp_path, ca_file=ca.certificate, ca_key_file=ca.key, datacenter="dc2")
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "consul-agent-ca-key.pem",
        "consul-agent-ca.pem",
        "dc1-server-consul-0-key.pem",
        "dc1-server-consul-0.pem",
        "dc1-server-consul-1-key.pem",
        "dc1-server-consul-1.pem",
        "dc2-client-consul-0-key.pem",
        "dc2-client-consul-0.pem",
    ]
    for path in tmp_path.iterdir():
        assert path.stat().st_mode & 0o777 == (0o600 if "key" in path.name else 0o644)


def test_a_server_has_its_name_localhost_and_what_is_asked_for(tmp_path: Path) -> None:
    ca = make_authority(tmp_path)
    made = make_server_certificate(
        tmp_path,
        ca_file=ca.certificate,
        ca_key_file=ca.key,
        dns_names=("extra.example",),
        ip_addresses=("10.0.0.1", "::1"),
    )
    names = names_of(made)
    assert names.get_values_for_type(x509.DNSName) == ["server.dc1.consul", "localhost", "extra.example"]
    assert [str(one) for one in names.get_values_for_type(x509.IPAddress)] == ["127.0.0.1", "10.0.0.1", "::1"]
    usage = load(made.certificate).extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    assert {one.dotted_string for one in usage} == {"1.3.6.1.5.5.7.3.1", "1.3.6.1.5.5.7.3.2"}


def test_the_chain_holds_against_a_strict_verifier(tmp_path: Path) -> None:
    ca = make_authority(tmp_path)
    made = make_server_certificate(tmp_path, ca_file=ca.certificate, ca_key_file=ca.key)
    verifier = PolicyBuilder().store(Store([load(ca.certificate)]))
    verifier.build_server_verifier(x509.DNSName("server.dc1.consul")).verify(load(made.certificate), [])
    with pytest.raises(VerificationError):
        verifier.build_server_verifier(x509.DNSName("server.dc2.consul")).verify(load(made.certificate), [])


def test_the_authority_lasts_five_years_and_signs_no_other_authority(tmp_path: Path) -> None:
    certificate = load(make_authority(tmp_path).certificate)
    assert (certificate.not_valid_after_utc - certificate.not_valid_before_utc).days == 5 * 365
    constraints = certificate.extensions.get_extension_for_class(x509.BasicConstraints).value
    assert constraints.ca
    assert constraints.path_length == 0


def test_a_constrained_authority_names_its_domain(tmp_path: Path) -> None:
    made = make_authority(tmp_path, domain="mesh", constrained=True, extra_constraints=("example",))
    permitted = load(made.certificate).extensions.get_extension_for_class(x509.NameConstraints).value.permitted_subtrees
    assert [one.value for one in permitted or []] == ["mesh", "localhost", "example"]
    assert made.certificate.name == "mesh-agent-ca.pem"


def test_nothing_is_overwritten(tmp_path: Path) -> None:
    made = make_authority(tmp_path)
    before = made.key.read_bytes()
    with pytest.raises(ConfigInvalid, match="exists"):
        make_authority(tmp_path)
    made.certificate.unlink()
    with pytest.raises(ConfigInvalid, match="exists"):
        make_authority(tmp_path)
    assert made.key.read_bytes() == before


def test_a_lost_certificate_does_not_let_its_key_be_overwritten(tmp_path: Path) -> None:
    ca = make_authority(tmp_path)
    first = make_server_certificate(tmp_path, ca_file=ca.certificate, ca_key_file=ca.key)
    first.certificate.unlink()
    assert make_server_certificate(tmp_path, ca_file=ca.certificate, ca_key_file=ca.key).key.name.endswith("-1-key.pem")


@pytest.mark.parametrize("name", ["server.dc1.consul", "SERVER.dc1.consul", "*.dc1.consul"])
def test_an_agents_certificate_cannot_be_made_a_servers(tmp_path: Path, name: str) -> None:
    ca = make_authority(tmp_path)
    with pytest.raises(ConfigInvalid):
        make_client_certificate(tmp_path, ca_file=ca.certificate, ca_key_file=ca.key, dns_names=(name,))


def test_unusable_input_is_named(tmp_path: Path) -> None:
    ca = make_authority(tmp_path)
    other = make_authority(tmp_path / "other")
    with pytest.raises(ConfigInvalid, match="is not the key of"):
        make_server_certificate(tmp_path, ca_file=ca.certificate, ca_key_file=other.key)
    with pytest.raises(ConfigInvalid, match="no certificate"):
        make_server_certificate(tmp_path, ca_file=ca.key, ca_key_file=ca.key)
    with pytest.raises(ConfigInvalid, match="private key"):
        make_server_certificate(tmp_path, ca_file=ca.certificate, ca_key_file=ca.certificate)
    with pytest.raises(ConfigInvalid, match="IP address"):
        make_server_certificate(tmp_path, ca_file=ca.certificate, ca_key_file=ca.key, ip_addresses=("x",))
    with pytest.raises(ConfigInvalid, match="days"):
        make_server_certificate(tmp_path, ca_file=ca.certificate, ca_key_file=ca.key, days=0)
    for domain in ("../elsewhere", "a b", ""):
        with pytest.raises(ConfigInvalid, match="DNS name"):
            make_authority(tmp_path, domain=domain)
    with pytest.raises(ConfigInvalid, match="DNS name"):
        make_server_certificate(tmp_path, ca_file=ca.certificate, ca_key_file=ca.key, datacenter="../dc")
