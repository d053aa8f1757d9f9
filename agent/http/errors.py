"""Errors -> status, text and outcome. The only place that knows status codes of errors.

Source: HTTP conventions, section 1. Texts are matched by substring, since they may have crossed servers.
"""

from collections.abc import Sequence

from agent.http.response import Response, text_response
from base import errors

STATUS: dict[type[errors.MeshError], int] = {
    errors.InvalidRequest: 400,
    errors.PermissionDenied: 403,
    errors.NotFound: 404,
    errors.TooLarge: 413,
    errors.RateLimited: 429,
}
"""Everything else is 500."""
_FORBIDDEN_TEXTS = ("Permission denied", "ACL not found")
_RATE_TEXT = "RPC rate limit exceeded"
OUTCOME_REFUSED = b"X-Mesh-Outcome: refused\r\n"
"""Certainly nothing was changed, and nothing will be."""
OUTCOME_UNKNOWN = b"X-Mesh-Outcome: unknown\r\n"
"""It may have happened, or may happen yet."""
GENERIC_TEXT = "Internal server error"
TEXT_CHARACTERS_MAX = 4096
"""Texts repeat what was sent; of a wrong value of half a megabyte the beginning is enough."""


def error_response(error: errors.MeshError, *, is_write: bool) -> Response:
    """Return the answer that tells a client of `error`; for writes it says whether anything may have happened."""
    text = str(error)
    status = 500
    for kind in type(error).__mro__:
        if kind in STATUS:
            status = STATUS[kind]
            break
    if any(part in text for part in _FORBIDDEN_TEXTS):
        status = 403
    elif _RATE_TEXT in text:
        status, text = 429, ""
    headers = b""
    if is_write:
        headers = OUTCOME_REFUSED if error.definite else OUTCOME_UNKNOWN
    return text_response(status, _shortened(text), headers=headers)


def _shortened(text: str) -> str:
    return text if len(text) <= TEXT_CHARACTERS_MAX else f"{text[:TEXT_CHARACTERS_MAX]}..."


def multi_error_text(texts: Sequence[str]) -> str:
    """Return several complaints as one text in the form that clients have seen, "" for none."""
    if not texts:
        return ""
    count = "1 error" if len(texts) == 1 else f"{len(texts)} errors"
    return f"{count} occurred:\n\n" + "\n".join(f"* {text}" for text in texts)


def defect_response(*, is_write: bool) -> Response:
    """Return the answer to a request that met a defect of ours; details are in the log only."""
    return text_response(500, GENERIC_TEXT, headers=OUTCOME_UNKNOWN if is_write else b"")


def refused(status: int, text: str, *, is_write: bool) -> Response:
    """Return an answer for a request that was refused before anything was tried."""
    return text_response(status, _shortened(text), headers=OUTCOME_REFUSED if is_write else b"")
