"""Reads a page as a browser would: which elements, attributes and texts there are."""

from html.parser import HTMLParser

VOID = {"meta", "br", "link"}


class Page(HTMLParser):
    """Everything in a page; raises AssertionError where its elements are not closed in order."""

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.source = text
        self.elements: list[tuple[str, dict[str, str]]] = []
        self.texts: list[str] = []
        self._open: list[str] = []
        self.feed(text)
        self.close()
        assert not self._open, f"never closed: {self._open}"

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, {name: value or "" for name, value in attrs}))
        if tag not in VOID:
            self._open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self._open, f"{tag} is closed, but nothing is open"
        assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self._open and self._open[-1] not in ("style", "script"):
            self.texts.append(data)

    @property
    def text(self) -> str:
        return "\n".join(self.texts)

    def of_class(self, name: str) -> list[dict[str, str]]:
        """Attributes of the elements that have this class."""
        return [attributes for _, attributes in self.elements if name in attributes.get("class", "").split()]
