"""Sans-IO. Limits of the metadata of nodes and services. Source: state store specification, section 2."""

import re

PAIRS_COUNT_MAX = 64
KEY_CHARACTERS_MAX = 128
VALUE_CHARACTERS_MAX = 512
RESERVED_PREFIX = "consul-"
_KEY = re.compile(r"[a-zA-Z0-9_-]+\Z")


def complaint(meta: dict[str, str] | None, *, reserved_allowed: bool) -> str:
    """Return why this can't be anybody's metadata, or "". Agents themselves use reserved keys, users may not."""
    if not meta:
        return ""
    if len(meta) > PAIRS_COUNT_MAX:
        return f"Node metadata cannot contain more than {PAIRS_COUNT_MAX} key/value pairs"
    for key, value in meta.items():
        reason = _pair_complaint(key, value, reserved_allowed)
        if reason:
            return f"Couldn't load metadata pair ('{key}', '{value}'): {reason}"
    return ""


def _pair_complaint(key: str, value: str, reserved_allowed: bool) -> str:
    if not key:
        return "Key cannot be blank"
    if not _KEY.match(key):
        return "Key contains invalid characters"
    if len(key) > KEY_CHARACTERS_MAX:
        return f"Key is too long (limit: {KEY_CHARACTERS_MAX} characters)"
    if key.startswith(RESERVED_PREFIX) and not reserved_allowed:
        return f"Key prefix '{RESERVED_PREFIX}' is reserved for internal use"
    if len(value) > VALUE_CHARACTERS_MAX:
        return f"Value is too long (limit: {VALUE_CHARACTERS_MAX} characters)"
    return ""
