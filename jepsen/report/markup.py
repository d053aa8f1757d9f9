"""HTML and SVG whose text is escaped by construction: whoever wants markup must build it from elements.

Own code instead of a template engine: the page is mostly drawings computed here, and all that is left to a library
would be the escaping of text, which the standard library does. A plotting library would add 50 MB to the installation
for three plots without fault windows, lanes or themes.
"""

import html
import re
from collections.abc import Iterable

_NOT_IN_A_PAGE = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ud800-\udfff\ufffe\uffff\u202a-\u202e\u2066-\u2069]")
"""Control characters, lone surrogates, and those that turn the direction of text round."""
_VOID = frozenset({"meta", "br", "link"})


class Markup(str):
    """Text that is markup already. Only made by this module and from constants."""

    __slots__ = ()


def text(value: object) -> Markup:
    """Escape anything for element content and quoted attributes; what no page can show becomes U+FFFD."""
    return Markup(html.escape(_NOT_IN_A_PAGE.sub("\ufffd", str(value)), quote=True))


def join(parts: Iterable[Markup], between: str = "") -> Markup:
    """Put markup together."""
    return Markup(between.join(parts))


def element(name: str, /, *children: object, **attributes: object) -> Markup:
    """One element. Children that are not markup are escaped, iterables are flattened, None and "" are left out.

    Attribute names: a trailing underscore is dropped (`class_`), inner ones become hyphens (`text_anchor`); those
    whose value is None or False are left out, True gives an attribute without value.
    """
    words = "".join(_attribute(key, value) for key, value in attributes.items())
    if name in _VOID:
        return Markup(f"<{name}{words}>")
    return Markup(f"<{name}{words}>{''.join(_flat(children))}</{name}>")


def number(value: float) -> str:
    """A coordinate: one decimal is a tenth of a pixel, and short."""
    rounded = round(value, 1)
    return str(int(rounded)) if rounded == int(rounded) else str(rounded)


def _attribute(key: str, value: object) -> str:
    if value is None or value is False:
        return ""
    name = key.rstrip("_").replace("_", "-")
    if value is True:
        return f" {name}"
    shown = number(value) if isinstance(value, float) else text(value)
    return f' {name}="{shown}"'


def _flat(children: Iterable[object]) -> Iterable[str]:
    for child in children:
        if child is None:
            continue
        if isinstance(child, Markup):
            yield child
        elif isinstance(child, str | int | float):
            yield text(child)
        elif isinstance(child, Iterable):
            yield from _flat(child)
        else:
            raise TypeError(f"{type(child).__name__} is no content of an element")
