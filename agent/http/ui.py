"""The web page: static files with strict headers, kept in memory. Source: HTTP API, section 15.

Whatever below the page's path is no file is a place inside of the page, and gets its frame.
"""

import mimetypes
from collections.abc import Mapping
from importlib.resources import files
from pathlib import Path

from agent.http.response import Response, text_response
from base.errors import ConfigInvalid

FOLDER_BYTES_MAX = 64 << 20
"""All files of a page that an operator supplies."""
FILES_MAX = 4_096
FRAME = "index.html"
_BASE_DEFAULT = b'<base href="/ui/">'
_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
    "base-uri 'self'; form-action 'none'; frame-ancestors 'none'"
)
HEADERS = (
    f"Content-Security-Policy: {_POLICY}\r\n"
    "X-Content-Type-Options: nosniff\r\n"
    "X-Frame-Options: DENY\r\n"
    "Referrer-Policy: no-referrer\r\n"
    "Cross-Origin-Opener-Policy: same-origin\r\n"
    "Cross-Origin-Resource-Policy: same-origin\r\n"
    "Cache-Control: no-cache\r\n"
).encode()
_TYPES = {".js": "text/javascript", ".html": "text/html", ".css": "text/css", ".svg": "image/svg+xml"}
"""Written out: what the machine's own table says of these differs."""


class Page:
    """All files of the page by their path below `content_path`, which begins and ends with a slash."""

    def __init__(self, content_path: str, contents: Mapping[str, bytes]) -> None:
        self.content_path = content_path
        base = f'<base href="{content_path}">'.encode()
        self._answers: dict[str, Response] = {}
        for name, data in contents.items():
            body = data.replace(_BASE_DEFAULT, base) if name == FRAME else data
            self._answers[name] = Response(200, body, _type_line(name), HEADERS)

    def answer(self, remainder: str) -> Response:
        """Return the file at this place, else the frame, which knows its places."""
        found = self._answers.get(remainder) or self._answers.get(FRAME)
        return found if found is not None else text_response(404, "404 page not found")


def _type_line(name: str) -> bytes:
    suffix = Path(name).suffix
    kind = _TYPES.get(suffix) or mimetypes.guess_type(name)[0] or "application/octet-stream"
    charset = "; charset=utf-8" if kind.startswith("text/") else ""
    return f"Content-Type: {kind}{charset}\r\n".encode()


def load_page(content_path: str, folder: str) -> Page:
    """Return our own page, or that in `folder` if it is not ""; raises ConfigInvalid for a folder that holds none."""
    return Page(content_path, _read_folder(Path(folder)) if folder else _own_files())


def _own_files() -> dict[str, bytes]:
    root = files("ui")
    found = {}
    for place in (root, root / "views"):
        for file in place.iterdir():
            if file.is_file() and not file.name.endswith(".py"):
                found[file.name if place is root else f"views/{file.name}"] = file.read_bytes()
    return found


def _read_folder(folder: Path) -> dict[str, bytes]:
    found: dict[str, bytes] = {}
    size = 0
    try:
        for file in sorted(folder.rglob("*")):
            if not file.is_file():
                continue
            size += file.stat().st_size
            if size > FOLDER_BYTES_MAX or len(found) >= FILES_MAX:
                raise ConfigInvalid(
                    f"ui_config.dir {folder} holds more than {FOLDER_BYTES_MAX} bytes or {FILES_MAX} files"
                )
            found[file.relative_to(folder).as_posix()] = file.read_bytes()
    except OSError as error:
        raise ConfigInvalid(f"ui_config.dir {folder}: {error.strerror or error}") from error
    if FRAME not in found:
        raise ConfigInvalid(f"ui_config.dir {folder} has no {FRAME}")
    return found
