"""Keys of gossip: what they seal and open, how they change, and how they are kept in a file."""

import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from base.errors import InvalidRequest, InvariantBroken, Refused
from gossip.keyring import KEYS_MAX, Keyring, dump_keyring, key_text, load_keyring, parse_key

KEY, OTHER, THIRD = bytes(range(16)), bytes(range(24)), bytes(range(32))
NONCE = bytes(12)


def padded_body(key: bytes, padded: bytes) -> bytes:
    """A sealed body of encryption version 0."""
    return b"\x00" + NONCE + AESGCM(key).encrypt(NONCE, padded, b"")


@pytest.mark.parametrize("key", [KEY, OTHER, THIRD], ids=len)
def test_what_is_sealed_is_opened(key: bytes) -> None:
    ring = Keyring([key])
    sealed = ring.seal(b"plain", b"head", NONCE)
    assert (len(sealed), sealed[:13]) == (5 + 29, b"\x01" + NONCE)
    assert ring.open(sealed, b"head") == b"plain"
    assert ring.open(memoryview(sealed), b"head") == b"plain"


def test_the_primary_key_seals_and_all_open() -> None:
    ring = Keyring([KEY, OTHER])
    sealed = ring.seal(b"x", b"", NONCE)
    assert Keyring([THIRD, KEY]).open(sealed, b"") == b"x"
    with pytest.raises(InvalidRequest, match="no installed key"):
        Keyring([OTHER]).open(sealed, b"")


def test_every_changed_bit_is_noticed() -> None:
    ring = Keyring([KEY])
    sealed = ring.seal(b"x", b"head", NONCE)
    for position in range(len(sealed)):
        damaged = bytearray(sealed)
        damaged[position] ^= 0x80
        with pytest.raises(InvalidRequest):
            ring.open(bytes(damaged), b"head")
    with pytest.raises(InvalidRequest):
        ring.open(sealed, b"HEAD")


@pytest.mark.parametrize("plain", [b"", b"x", bytes(15), bytes(16), bytes(17)], ids=len)
def test_the_padded_version_is_opened(plain: bytes) -> None:
    count = 16 - len(plain) % 16
    assert Keyring([KEY]).open(padded_body(KEY, plain + bytes((count,)) * count), b"") == plain


@pytest.mark.parametrize("padded", [b"", b"\x00" * 16, b"\x11" * 32, b"\x02"], ids=repr)
def test_impossible_padding_is_refused(padded: bytes) -> None:
    with pytest.raises(InvalidRequest, match="padding"):
        Keyring([KEY]).open(padded_body(KEY, padded), b"")


def test_versions_of_the_future_are_refused() -> None:
    sealed = Keyring([KEY]).seal(b"x", b"", NONCE)
    with pytest.raises(InvalidRequest, match="version 2"):
        Keyring([KEY]).open(b"\x02" + sealed[1:], b"")


def test_a_nonce_of_another_size_is_a_defect() -> None:
    with pytest.raises(InvariantBroken):
        Keyring([KEY]).seal(b"x", b"", bytes(11))


def test_a_key_is_installed_used_and_removed() -> None:
    ring = Keyring([KEY])
    both = ring.install(OTHER)
    assert both.keys == (KEY, OTHER)
    assert both.install(OTHER) == both
    turned = both.use(OTHER)
    assert turned.keys == (OTHER, KEY)
    assert turned.remove(KEY) == Keyring([OTHER])
    assert turned.remove(THIRD) == turned
    assert ring.keys == (KEY,)


def test_refusals_have_the_foreign_wording() -> None:
    ring = Keyring([KEY, OTHER])
    for change, key, text in (
        (ring.install, b"short", "key size must be 16, 24 or 32 bytes"),
        (ring.use, THIRD, "Requested key is not in the keyring"),
        (ring.remove, KEY, "Removing the primary key is not allowed"),
    ):
        with pytest.raises(Refused) as refused:
            change(key)
        assert str(refused.value) == text


def test_a_keyring_holds_so_many_keys_and_no_more() -> None:
    keys = [number.to_bytes(16, "big") for number in range(KEYS_MAX)]
    ring = Keyring(keys)
    assert ring.install(keys[-1]) == ring
    with pytest.raises(Refused, match="full"):
        ring.install(KEY)
    with pytest.raises(InvalidRequest):
        Keyring([*keys, KEY])
    with pytest.raises(InvalidRequest, match="Keyring is empty"):
        Keyring([])


def test_keys_are_not_printed() -> None:
    assert repr(Keyring([KEY, OTHER])) == "Keyring(<2 hidden>)"


def test_keys_are_read_from_base64() -> None:
    assert parse_key(" AAECAwQFBgcICQoLDA0ODw==\n") == KEY
    assert key_text(KEY) == "AAECAwQFBgcICQoLDA0ODw=="


@pytest.mark.parametrize("text", ["", "AAEC", "not base64!", "ÄÖÜ", "AAECAwQFBgcICQoLDA0ODw"])
def test_bad_keys_are_refused_without_being_shown(text: str) -> None:
    with pytest.raises(InvalidRequest) as refused:
        parse_key(text)
    assert not text or text not in str(refused.value)


def test_the_file_lists_the_primary_key_first() -> None:
    ring = Keyring([OTHER, KEY])
    text = dump_keyring(ring)
    assert text == f'[\n  "{key_text(OTHER)}",\n  "{key_text(KEY)}"\n]'
    assert load_keyring(text) == ring


@pytest.mark.parametrize(
    "text", ["", "{}", "[1]", "[]", '["AAEC"]', '["?"]', "[" * 100_000, '"AAECAwQFBgcICQoLDA0ODw=="']
)
def test_a_bad_file_is_refused(text: str) -> None:
    with pytest.raises(InvalidRequest):
        load_keyring(text)
