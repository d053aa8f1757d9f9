"""Sans-IO: the keys of gossip, and what they seal. Source: wire format, sections 3 and 8.5.

The first key is the primary one: it seals. All are tried to open, so that a key can be changed without a pause: the
new one is installed everywhere, then used everywhere, then the old one is removed.

A sealed body is a version byte, a nonce, the ciphertext and its tag (AES-GCM). Version 1 is what everybody sends;
version 0, which pads as block ciphers need it, is still taken.
"""

import base64
import binascii
import json
from collections.abc import Iterable

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from base.errors import InvalidRequest, Refused, require

KEY_SIZES_BYTES = (16, 24, 32)
KEYS_MAX = 64
"""Whatever does not open is tried with all of them, so that many must not be many more than a rotation needs."""
NONCE_BYTES = 12
TAG_BYTES = 16
SEAL_OVERHEAD_BYTES = 1 + NONCE_BYTES + TAG_BYTES
"""What sealing adds, in the version that is sent."""
PADDING_BYTES_MAX = 16

_VERSION_PADDED, _VERSION_SENT = 0, 1

NO_KEYRING = "No keyring to modify (encryption not enabled)"
EMPTY_KEYRING = "Keyring is empty (encryption not enabled)"
KEY_SIZE_WRONG = "key size must be 16, 24 or 32 bytes"
KEY_NOT_INSTALLED = "Requested key is not in the keyring"
KEY_IS_PRIMARY = "Removing the primary key is not allowed"


class Keyring:
    """The keys in force, primary first; at least one, none twice. A value: changes make another one."""

    __slots__ = ("_ciphers", "keys")

    def __init__(self, keys: Iterable[bytes]) -> None:
        """Raises InvalidRequest for no key, a key of the wrong size, or too many."""
        self.keys = tuple(dict.fromkeys(keys))
        """Raw keys, primary first."""
        if not self.keys:
            raise InvalidRequest(EMPTY_KEYRING)
        if len(self.keys) > KEYS_MAX:
            raise InvalidRequest(f"{len(self.keys)} keys where at most {KEYS_MAX} are possible")
        for key in self.keys:
            _check_size(key)
        self._ciphers = [AESGCM(key) for key in self.keys]

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Keyring) and self.keys == other.keys

    def __repr__(self) -> str:
        return f"Keyring(<{len(self.keys)} hidden>)"

    # Sealing

    def seal(self, plain: bytes, authenticated: bytes, nonce: bytes) -> bytes:
        """Return the sealed body. `nonce` must be random and is never used twice; `authenticated` is proved too."""
        require(len(nonce) == NONCE_BYTES, "nonce of the wrong size", len(nonce))
        return bytes((_VERSION_SENT,)) + nonce + self._ciphers[0].encrypt(nonce, plain, authenticated)

    def open(self, sealed: bytes | memoryview, authenticated: bytes) -> bytes:
        """Return the plain bytes; raises InvalidRequest if no key opens it, or it is of a version from the future."""
        if len(sealed) < SEAL_OVERHEAD_BYTES:
            raise InvalidRequest("too short for anything sealed")
        version = sealed[0]
        if version > _VERSION_SENT:
            raise InvalidRequest(f"sealed with encryption version {version}")
        nonce, body = bytes(sealed[1 : 1 + NONCE_BYTES]), bytes(sealed[1 + NONCE_BYTES :])
        for cipher in self._ciphers:
            try:
                plain = cipher.decrypt(nonce, body, authenticated)
            except InvalidTag:
                continue
            return plain if version == _VERSION_SENT else _without_padding(plain)
        raise InvalidRequest("no installed key opens it")

    # Changes

    def install(self, key: bytes) -> "Keyring":
        """Return the ring with this key too, for opening only. Raises Refused with the text for the asker."""
        if len(key) not in KEY_SIZES_BYTES:
            raise Refused(KEY_SIZE_WRONG)
        if key not in self.keys and len(self.keys) == KEYS_MAX:
            raise Refused(f"the keyring is full with {KEYS_MAX} keys")
        return Keyring((*self.keys, key))

    def use(self, key: bytes) -> "Keyring":
        """Return the ring with this key as the primary one; raises Refused if it is not installed."""
        if key not in self.keys:
            raise Refused(KEY_NOT_INSTALLED)
        return Keyring((key, *self.keys))

    def remove(self, key: bytes) -> "Keyring":
        """Return the ring without this key, installed or not; raises Refused for the primary one."""
        if key == self.keys[0]:
            raise Refused(KEY_IS_PRIMARY)
        return Keyring(other for other in self.keys if other != key)


def _check_size(key: bytes) -> None:
    if len(key) not in KEY_SIZES_BYTES:
        raise InvalidRequest(KEY_SIZE_WRONG)


def _without_padding(plain: bytes) -> bytes:
    count = plain[-1] if plain else 0
    if not 1 <= count <= min(PADDING_BYTES_MAX, len(plain)):
        raise InvalidRequest("impossible padding")
    return plain[:-count]


# Keys as text


def parse_key(text: str) -> bytes:
    """Return the key in a base64 text; raises InvalidRequest, with a text that does not tell the key."""
    try:
        key = base64.b64decode(text.strip(), validate=True)
    except (binascii.Error, ValueError) as error:
        raise InvalidRequest("a key of gossip must be base64") from error
    _check_size(key)
    return key


def key_text(key: bytes) -> str:
    """Return what `parse_key` reads."""
    return base64.b64encode(key).decode("ascii")


def load_keyring(text: str) -> Keyring:
    """Return the ring in the text of a keyring file; raises InvalidRequest, which the caller has to add the path to."""
    try:
        texts = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise InvalidRequest("a keyring file must be a JSON list of keys") from error
    if not isinstance(texts, list) or not all(isinstance(item, str) for item in texts):
        raise InvalidRequest("a keyring file must be a JSON list of keys")
    if not texts:
        raise InvalidRequest("a keyring file without a key")
    return Keyring(parse_key(item) for item in texts)


def dump_keyring(keyring: Keyring) -> str:
    """Return the text of the keyring file: primary first. It is for nobody else to read (mode 0600)."""
    return json.dumps([key_text(key) for key in keyring.keys], indent=2)
