"""Refusal: the result of a command that the state does not allow. A value, because replays must not raise."""

from base.codec import Record


class Refusal(Record, frozen=True, kw_only=True):
    """Nothing was changed. The server raises it to the client as `Refused(text)`."""

    text: str
