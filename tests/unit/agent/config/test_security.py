"""What TLS options imply, and which contradict one another."""

import pytest

from agent.config.load import load
from agent.config.runtime import RuntimeConfig
from agent.tls import tls_config
from base.errors import ConfigInvalid

FILES = 'ca_file = "/ca"\ncert_file = "/cert"\nkey_file = "/key"\n'


def configured(hcl: str) -> RuntimeConfig:
    argv = ["-data-dir", "/x", "-bind", "127.0.0.1", "-hcl", hcl]
    return load(argv, environment={}, role="agent")[0]


def test_verify_server_hostname_implies_verify_outgoing() -> None:
    """CVE-2018-19653."""
    config = configured(FILES + "verify_server_hostname = true")
    assert config.internal_tls.verify_outgoing
    assert tls_config(config.internal_tls).resolved().verify_outgoing


@pytest.mark.parametrize(
    ("hcl", "text"),
    [
        ("verify_outgoing = true", "VerifyOutgoing set, and no CA certificate provided!"),
        ("verify_incoming = true", "VerifyIncoming set, and no CA certificate provided!"),
        ('verify_incoming = true\nca_file = "/ca"', "VerifyIncoming set, and no Cert/Key pair provided!"),
        ("verify_server_hostname = true", "no CA certificate"),
        ('cert_file = "/cert"', "belong together"),
        ("ports { https = 8501 }", "HTTPS needs"),
        (
            'ports { https = 8501 }\ntls { https { cert_file = "/c" key_file = "/k" verify_incoming = true } }',
            "no CA certificate",
        ),
    ],
)
def test_checks_that_could_not_be_done_are_refused(hcl: str, text: str) -> None:
    """CVE-2019-9764."""
    with pytest.raises(ConfigInvalid) as caught:
        configured(hcl)
    assert text in str(caught.value)


def test_old_and_new_names_mean_the_same() -> None:
    old = configured(FILES + "verify_incoming_rpc = true\nverify_outgoing = true\nverify_server_hostname = true")
    new = configured(
        'tls { defaults { ca_file = "/ca" cert_file = "/cert" key_file = "/key" verify_outgoing = true }\n'
        "internal_rpc { verify_incoming = true verify_server_hostname = true } }"
    )
    assert old.internal_tls == new.internal_tls
    assert old.internal_tls.verify_incoming
    assert not old.https_tls.verify_incoming


def test_a_section_overrides_the_defaults_even_with_false() -> None:
    config = configured(
        FILES
        + 'verify_incoming = true\nverify_outgoing = true\ntls { https { verify_incoming = false ca_file = "/h" } }'
    )
    assert config.internal_tls.verify_incoming
    assert not config.https_tls.verify_incoming
    assert tls_config(config.https_tls).ca_file == "/h"
    assert tls_config(config.internal_tls).ca_file == "/ca"


@pytest.mark.parametrize(("text", "version"), [("tls10", "1.2"), ("TLSv1_3", "1.3"), ("tls12", "1.2")])
def test_versions_older_than_we_speak_are_raised(text: str, version: str) -> None:
    assert configured(FILES + f'tls_min_version = "{text}"').internal_tls.version_min == version
    assert tls_config(configured(FILES + f'tls_min_version = "{text}"').internal_tls).version_min == version
