"""Operations on the keys of gossip, over a whole cluster. Source: gossip specification, section 7."""

from enum import StrEnum

from base.codec import Record
from structs.query import QueryOptions

RELAY_FACTOR_MAX = 5


class KeyringOperation(StrEnum):
    """What is done with a key."""

    LIST = "list"
    INSTALL = "install"
    USE = "use"
    REMOVE = "remove"


class KeyringRequest(Record, frozen=True, kw_only=True):
    """RPC Internal.KeyringOperation. `key` is base64, "" for a list."""

    operation: KeyringOperation
    key: str = ""
    relay_factor: int = 0
    forwarded: bool = False
    """Another datacenter's server has asked: do it here and pass it on to nobody."""
    options: QueryOptions = QueryOptions()


class KeyringAnswer(Record, frozen=True, kw_only=True):
    """One pool's answer."""

    wan: bool
    datacenter: str
    segment: str = ""
    messages: dict[str, str] = {}
    """Node -> what it had to say, mostly why it failed."""
    keys: dict[str, int] = {}
    """Key -> how many nodes have it."""
    primary_keys: dict[str, int] = {}
    nodes_count: int = 0
    error: str = ""


class KeyringReply(Record, frozen=True, kw_only=True):
    """The WAN pool first, then each datacenter's LAN pool."""

    answers: list[KeyringAnswer]
