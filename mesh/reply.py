"""Sans-IO: one answer of an agent."""

import json
from collections.abc import Mapping
from typing import Any

import msgspec

from base.errors import Internal


class Reply(msgspec.Struct, frozen=True, kw_only=True):
    """One answer. Header names are in lower case."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    def json(self) -> Any:
        """The body as JSON; raises Internal if it is none."""
        try:
            return json.loads(self.body)
        except (ValueError, RecursionError) as error:
            raise Internal(f"the agent's answer is not JSON: {error}") from error
