"""How a foreign member answers questions about the keys of gossip."""

import base64

from tests.fakes.foreign_packing import KEY_REQUEST, KEY_RESPONSE, fields_of, message

KEY_BYTES = (16, 24, 32)


class KeyAnswers:
    """Changes the list of keys that is handed in, primary first."""

    def __init__(self, keys: list[bytes]) -> None:
        self._keys = keys

    def answer(self, query: str, payload: bytes) -> bytes | None:
        """Return the payload of the answer; None for a query that is not about keys."""
        verb = query.removeprefix("_serf_")
        if verb == "list-keys":
            if not self._keys:
                return self._said("Keyring is empty (encryption not enabled)")
            listed = [base64.b64encode(key).decode() for key in self._keys]
            return message(KEY_RESPONSE, {"Result": True, "Message": "", "Keys": listed})
        if verb not in ("install-key", "use-key", "remove-key"):
            return None
        assert payload[0] == KEY_REQUEST
        return self._said(self._change(verb, fields_of(payload)["Key"] or b""))

    def _said(self, complaint: str) -> bytes:
        return message(KEY_RESPONSE, {"Result": not complaint, "Message": complaint, "Keys": None})

    def _change(self, verb: str, key: bytes) -> str:
        """Return why not, "" if done."""
        keys = self._keys
        if not keys:
            return "No keyring to modify (encryption not enabled)"
        if verb == "install-key":
            if len(key) not in KEY_BYTES:
                return "key size must be 16, 24 or 32 bytes"
            if key not in keys:
                keys.append(key)
            return ""
        if verb == "use-key":
            if key not in keys:
                return "Requested key is not in the keyring"
            keys.remove(key)
            keys.insert(0, key)
            return ""
        if keys[0] == key:
            return "Removing the primary key is not allowed"
        if key in keys:
            keys.remove(key)
        return ""
