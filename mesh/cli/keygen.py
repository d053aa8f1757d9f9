"""`mesh keygen`. Source: command-line specification, keygen."""

import base64
import secrets

from mesh.cli.context import Context

KEY_BYTES = 32
"""AES-256; what newer versions of the other implementation make too."""


def keygen(context: Context) -> int:
    """Print one new key."""
    context.output.line(base64.b64encode(secrets.token_bytes(KEY_BYTES)).decode())
    return 0
