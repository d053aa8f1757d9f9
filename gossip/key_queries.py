"""Sans-IO: the keys of gossip, changed everywhere by one query. Source: wire format, section 8.5.

Every member keeps its own list, primary first, and does what it is told; whoever asked counts the answers.
"""

from collections import Counter
from collections.abc import Callable

from base.errors import InvalidRequest, Refused, TooLarge
from gossip.config import QUERY_BYTES_MAX
from gossip.context import Context
from gossip.fields import text_for_people
from gossip.instructions import KeyringResult, QueryResult, WriteKeyring
from gossip.keyring import EMPTY_KEYRING, NO_KEYRING, Keyring, key_text
from gossip.query_answering import INTERNAL_PREFIX
from gossip.query_asking import Asking
from gossip.serf_messages import KeyRequest, KeyResponse, Query, decode, encode

RESPONSE_ENVELOPE_BYTES = 384
"""What a response costs besides its payload, with the longest name of a member."""
MESSAGE_CHARACTERS_MAX = 1024
"""A member's text, as far as the result shows it."""

Change = Callable[[Keyring, bytes], Keyring]

VERBS: dict[str, tuple[str, Change | None]] = {
    "install": ("install-key", Keyring.install),
    "use": ("use-key", Keyring.use),
    "remove": ("remove-key", Keyring.remove),
    "list": ("list-keys", None),
}
"""What the operator says -> the name of the query, and what it does to the keys."""


class KeyQueries:
    """Both sides. `keys`: ours, primary first; [] if nothing is encrypted. InvalidRequest for impossible ones."""

    def __init__(self, context: Context, asking: Asking, keys: list[bytes]) -> None:
        self._context = context
        self._asking = asking
        self._keyring = Keyring(keys) if keys else None

    @property
    def keys(self) -> list[bytes]:
        """The keys in force, primary first."""
        return list(self._keyring.keys) if self._keyring is not None else []

    def answers(self) -> dict[str, Callable[[float, Query], bytes | None]]:
        """Return who answers which internal query."""
        table: dict[str, Callable[[float, Query], bytes | None]] = {}
        for name, change in VERBS.values():
            table[name] = self._list if change is None else self._answer_with(change)
        return table

    def ask(
        self,
        now_s: float,
        verb: str,
        key: bytes,
        relay_factor: int,
        done: Callable[[float, KeyringResult], None],
    ) -> None:
        """Have every member do it."""
        nodes_count = self._context.lower.alive_count
        if verb not in VERBS:
            done(now_s, _failed(f"unknown operation {verb!r}"))
            return
        complaint = self._asking.ask(
            now_s,
            INTERNAL_PREFIX + VERBS[verb][0],
            encode(KeyRequest(key=key)),
            lambda now_s, result: done(now_s, summary(result, nodes_count)),
            relay_factor=relay_factor,
        )
        if complaint is not None:
            done(now_s, _failed(complaint))

    def _answer_with(self, change: Change) -> Callable[[float, Query], bytes | None]:
        def answer(now_s: float, query: Query) -> bytes | None:
            try:
                self._change(query, change)
            except (InvalidRequest, TooLarge, Refused) as error:
                self._context.log("warn", "key operation refused", query=query.name, why=str(error))
                return encode(KeyResponse(message=str(error)))
            return encode(KeyResponse(result=True))

        return answer

    def _change(self, query: Query, change: Change) -> None:
        """Do what a query says; raises Refused, or InvalidRequest or TooLarge for what is no request."""
        request = decode(query.payload)
        if not isinstance(request, KeyRequest):
            raise InvalidRequest("not a key request")
        if self._keyring is None:
            raise Refused(NO_KEYRING)
        changed = change(self._keyring, request.key)
        if changed != self._keyring:
            self._keyring = changed
            self._context.out.append(WriteKeyring(keys=self.keys))
            self._context.log("info", "keys changed", query=query.name, keys_count=len(changed.keys))

    def _list(self, now_s: float, query: Query) -> bytes:
        """Return all keys, or as many as an answer holds."""
        if self._keyring is None:
            return encode(KeyResponse(message=EMPTY_KEYRING))
        keys = list(map(key_text, self._keyring.keys))
        for count in range(len(keys), -1, -1):
            text = f"truncated key list response, showing first {count} of {len(keys)} keys"
            answer = encode(KeyResponse(result=True, keys=keys[:count], message="" if count == len(keys) else text))
            if len(answer) <= QUERY_BYTES_MAX - RESPONSE_ENVELOPE_BYTES:
                break
        return answer


def summary(result: QueryResult, nodes_count: int) -> KeyringResult:
    """Return what the answers to a key query come to, among so many members."""
    messages: dict[str, str] = {}
    keys: Counter[str] = Counter()
    errors_count = 0
    for name, payload in result.answers.items():
        try:
            response = decode(payload)
        except (InvalidRequest, TooLarge) as error:
            messages[name] = f"Failed to decode key query response: {error}"
            errors_count += 1
            continue
        if not isinstance(response, KeyResponse):
            messages[name] = "Invalid key query response type"
            errors_count += 1
            continue
        if not response.result or response.message:
            messages[name] = text_for_people(response.message[:MESSAGE_CHARACTERS_MAX])
        errors_count += not response.result
        keys.update(set(map(text_for_people, response.keys)))
    answers_count = len(result.answers)
    complaint = ""
    if errors_count:
        complaint = f"{errors_count}/{nodes_count} nodes reported failure"
    elif answers_count != nodes_count:
        complaint = f"{answers_count}/{nodes_count} nodes reported success"
    return KeyringResult(
        nodes_count=nodes_count,
        answers_count=answers_count,
        errors_count=errors_count,
        messages=messages,
        keys=dict(keys),
        primary_keys={},
        error=complaint,
    )


def _failed(text: str) -> KeyringResult:
    return KeyringResult(
        nodes_count=0, answers_count=0, errors_count=0, messages={}, keys={}, primary_keys={}, error=text
    )
