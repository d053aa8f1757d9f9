"""Sans-IO: what members say of themselves: tags in their meta data, and their position in acks.

Source: wire format, sections 7 and 10.
"""

from typing import Any

from base.codec import OldReader, pack_old
from base.errors import InvalidRequest, TooLarge
from gossip.config import TAGS_BYTES_MAX
from gossip.fields import (
    LIST_ITEMS_MAX,
    Fields,
    float_of,
    from_map,
    list_of,
    text_of,
    texts_of,
    to_bytes,
    wire_texts,
)

# Tags: what a member's meta data mean

_TAGS_MAGIC = b"\xff"
_LONE_TAG = "role"


def encode_tags(tags: dict[str, str]) -> bytes:
    """Return meta data; raises TooLarge beyond what a member may carry, with the foreign wording."""
    meta = _TAGS_MAGIC + pack_old(wire_texts(tags))
    if len(meta) > TAGS_BYTES_MAX:
        raise TooLarge(f"Encoded length of tags exceeds limit of {TAGS_BYTES_MAX} bytes")
    return meta


def decode_tags(meta: bytes) -> dict[str, str]:
    """Return the tags in meta data; without the mark they are the value of one tag. Raises InvalidRequest."""
    if meta[:1] == _TAGS_MAGIC:
        return texts_of(OldReader(meta[1:], list_items_max=LIST_ITEMS_MAX).read())
    return {_LONE_TAG: text_of(meta)}


# What acks carry

_COORDINATE_VERSION = b"\x01"
DIMENSIONS_MAX = 64
"""Axes of a position; eight are used."""


def _axes_of(value: Any) -> list[float]:
    axes = list_of(float_of)(value)
    if len(axes) > DIMENSIONS_MAX:
        raise TooLarge(f"a position of {len(axes)} dimensions")
    return axes


class AckCoordinate(Fields, frozen=True, kw_only=True):
    """The acker's position: seconds along each axis, its error, and what its own link adds."""

    FIELDS = {
        "vec": ("Vec", _axes_of, lambda axes: [float(axis) for axis in axes]),
        "error": ("Error", float_of, float),
        "adjustment": ("Adjustment", float_of, float),
        "height": ("Height", float_of, float),
    }
    vec: list[float] = []
    error: float = 0.0
    adjustment: float = 0.0
    height: float = 0.0


def encode_ack_payload(coordinate: AckCoordinate) -> bytes:
    """Return the payload of a direct ack."""
    return _COORDINATE_VERSION + to_bytes(coordinate)


def decode_ack_payload(payload: bytes) -> AckCoordinate | None:
    """Return the acker's position, None if it sent none; raises InvalidRequest for another version and other bytes."""
    if not payload:
        return None
    if payload[:1] != _COORDINATE_VERSION:
        raise InvalidRequest(f"a position of version {payload[0]}")
    return from_map(AckCoordinate, OldReader(payload[1:], list_items_max=LIST_ITEMS_MAX).read())
