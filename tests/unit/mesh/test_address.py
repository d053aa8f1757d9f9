"""Which agent the arguments and the environment name."""

import pytest

from base.errors import InvalidRequest
from mesh.address import TLSFiles, parse_address, target_from, tls_from


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("127.0.0.1:8500", "http://127.0.0.1:8500"),
        ("example.org", "http://example.org:8500"),
        ("https://example.org", "https://example.org:8501"),
        ("http://[::1]:1", "http://[::1]:1"),
        ("unix:///run/mesh.sock", "unix:///run/mesh.sock"),
        ("http://proxy/prefix/", "http://proxy:8500/prefix"),
    ],
)
def test_addresses_are_taken_as_people_write_them(text: str, shown: str) -> None:
    assert str(parse_address(text)) == shown


@pytest.mark.parametrize("text", ["ftp://x", "http://", "a:b", "http://x:99999", ""])
def test_other_texts_are_refused(text: str) -> None:
    with pytest.raises(InvalidRequest, match="not an address"):
        parse_address(text)


def test_the_environment_fills_what_is_not_given() -> None:
    environment = {
        "CONSUL_HTTP_ADDR": "10.0.0.1:7",
        "CONSUL_HTTP_SSL": "1",
        "CONSUL_HTTP_AUTH": "user:pass",
        "CONSUL_HTTP_SSL_VERIFY": "false",
        "CONSUL_CACERT": "/ca",
    }
    target = target_from(environment)
    assert str(target) == "https://10.0.0.1:7"
    assert target.authorization.reveal() == "Basic dXNlcjpwYXNz"
    assert str(target_from(environment, "http://a:1")) == "http://a:1"
    assert str(target_from({})) == "http://127.0.0.1:8500"
    assert tls_from(environment, TLSFiles(cert_file="/c")) == TLSFiles(ca_file="/ca", cert_file="/c", verify=False)


def test_a_variable_that_is_neither_true_nor_false_is_refused() -> None:
    with pytest.raises(InvalidRequest, match="CONSUL_HTTP_SSL"):
        target_from({"CONSUL_HTTP_SSL": "perhaps"})
