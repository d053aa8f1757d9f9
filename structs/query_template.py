"""Sans-IO. Templates of prepared queries: `${...}` in the strings of their service part.

| expression          | stands for                                                                    |
| ------------------- | ----------------------------------------------------------------------------- |
| `${name.full}`      | the name that was asked for                                                   |
| `${name.prefix}`    | the template's own name                                                       |
| `${name.suffix}`    | what follows it                                                               |
| `${match(N)}`       | group N of the regular expression on the full name, "" where there is none    |
| `${agent.segment}`  | network segment of the agent that asks                                        |
| `$${`               | `${` itself                                                                   |

Source: state store specification, section 12.
"""

import re
from typing import Any, TypeVar

from msgspec.structs import fields, replace

from base.codec import Record
from base.errors import InvalidRequest
from base.patterns import CapturingPattern

RENDERED_CHARACTERS_MAX = 64 * 1024
"""One string, rendered: the name may stand in it many times."""
_EXPRESSION = re.compile(
    r"(?P<escape>\$\$\{)|\$\{\s*(?:(?P<variable>[a-z]+\.[a-z]+)|match\(\s*(?P<group>[0-9]{1,9})\s*\))\s*\}|(?P<bad>\$\{)"
)

R = TypeVar("R", bound=Record)


class Template:
    """One name put into one template. Raises InvalidRequest for an expression that cannot be understood."""

    def __init__(self, prefix: str, regexp: str, name: str, *, segment: str) -> None:
        self._variables = {
            "name.full": name,
            "name.prefix": prefix,
            "name.suffix": name[len(prefix) :],
            "agent.segment": segment,
        }
        self._groups: list[str] = []
        if regexp:
            try:
                self._groups = CapturingPattern(regexp).groups_in(name)
            except InvalidRequest as error:
                raise InvalidRequest(f"Bad Regexp: {error}") from error

    def rendered(self, record: R, where: str) -> R:
        """Return `record` with every string in it rendered, however deep; `where` names it in complaints."""
        changes = {}
        for field in fields(record):
            value = getattr(record, field.name)
            new = self._value(value, f"{where}.{field.name}")
            if new is not value:
                changes[field.name] = new
        return replace(record, **changes) if changes else record

    def _value(self, value: Any, where: str) -> Any:
        if isinstance(value, str):
            return self.text(value, where)
        if isinstance(value, list):
            return [self._value(item, f"{where}[{position}]") for position, item in enumerate(value)]
        if isinstance(value, dict):
            return {key: self._value(item, f"{where}[{key}]") for key, item in value.items()}
        return self.rendered(value, where) if isinstance(value, Record) else value

    def text(self, text: str, where: str) -> str:
        """Return one string rendered."""
        if "${" not in text:
            return text
        pieces: list[str] = []
        length = position = 0
        for found in _EXPRESSION.finditer(text):
            pieces += (text[position : found.start()], self._meaning(found, text, where))
            length += len(pieces[-1]) + len(pieces[-2])
            if length > RENDERED_CHARACTERS_MAX:
                raise InvalidRequest(f"{where} would have more than {RENDERED_CHARACTERS_MAX} characters")
            position = found.end()
        return "".join(pieces) + text[position:]

    def _meaning(self, found: re.Match[str], text: str, where: str) -> str:
        if found["escape"]:
            return "${"
        if found["bad"]:
            raise InvalidRequest(f"Bad format '{text}' in {where}: an expression that cannot be understood")
        if found["group"]:
            group = int(found["group"])
            return self._groups[group] if group < len(self._groups) else ""
        value = self._variables.get(found["variable"])
        if value is None:
            raise InvalidRequest(f"Bad format '{text}' in {where}: unknown variable accessed: {found['variable']}")
        return value
