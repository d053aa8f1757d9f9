"""The keys of gossip."""

from mesh.call import Call, Noun, World, method, nothing, plain_call, write_call
from mesh.rows import Shape
from structs.keyring import KeyringAnswer

PATH = "/v1/operator/keyring"
ANSWER = Shape(
    KeyringAnswer,
    WAN="wan",
    Datacenter="datacenter",
    Segment="segment",
    Messages="messages",
    Keys="keys",
    PrimaryKeys="primary_keys",
    NumNodes="nodes_count",
    Error="error",
)


class Keyring(Noun[World]):
    """`client.operator.keyring`. Keys are base64; the agent must be a server's."""

    @method
    def list(self, *, relay_factor: int = 0) -> Call[list[KeyringAnswer]]:
        """Return which keys are installed on how many nodes, pool by pool."""
        return plain_call(PATH, ANSWER.rows, _relayed(relay_factor))

    @method
    def install(self, key: str, *, relay_factor: int = 0) -> Call[None]:
        """Give a new key to all nodes: from then on they understand what is sealed with it."""
        return _change("POST", key, relay_factor)

    @method
    def use(self, key: str, *, relay_factor: int = 0) -> Call[None]:
        """Make all nodes seal with an installed key."""
        return _change("PUT", key, relay_factor)

    @method
    def remove(self, key: str, *, relay_factor: int = 0) -> Call[None]:
        """Take a key that is not in use away from all nodes."""
        return _change("DELETE", key, relay_factor)


def _change(verb: str, key: str, relay_factor: int) -> Call[None]:
    return write_call(PATH, nothing, _relayed(relay_factor), method=verb, value={"Key": key})


def _relayed(relay_factor: int) -> dict[str, str]:
    return {"relay-factor": str(relay_factor)} if relay_factor else {}
