"""The page's files: what is served where, and with which headers."""

from pathlib import Path

import pytest

from agent.http.dispatch import Dispatcher
from agent.http.reader import BodyRule, Request, RequestReader
from agent.http.registry import Services
from agent.http.response import Response
from agent.http.settings import HTTPLimits, HTTPSettings
from agent.http.ui import FRAME, HEADERS, load_page
from base.errors import ConfigInvalid
from tests.fakes.agent_info import FakeAgentInfo
from tests.fakes.delegate import FakeDelegate


def answer(target: str, *, method: str = "GET", settings: HTTPSettings | None = None) -> Response:
    """What a listener answers without asking any handler."""
    dispatcher = Dispatcher(Services(settings or HTTPSettings(ui_content_path="/ui/"), FakeDelegate(), FakeAgentInfo()))
    reader = RequestReader(HTTPLimits(), lambda method, target: BodyRule(0, ""))
    reader.feed(f"{method} {target} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
    request: Request = reader.requests.popleft()
    found = dispatcher.prepare(request)
    assert isinstance(found, Response)
    return found


@pytest.mark.parametrize(
    ("target", "kind"),
    [
        ("/ui/", b"text/html; charset=utf-8"),
        ("/ui/app.js", b"text/javascript; charset=utf-8"),
        ("/ui/views/kv.js", b"text/javascript; charset=utf-8"),
        ("/ui/style.css", b"text/css; charset=utf-8"),
        ("/ui/icon.svg", b"image/svg+xml"),
    ],
)
def test_files_have_their_type_and_the_strict_headers(target: str, kind: bytes) -> None:
    found = answer(target)
    assert found.status == 200
    assert found.content_type == b"Content-Type: %b\r\n" % kind
    assert found.headers == HEADERS
    assert b"default-src 'none'" in HEADERS
    assert b"unsafe" not in HEADERS


@pytest.mark.parametrize(
    "target", ["/ui/services", "/ui/kv/a%2Fb/", "/ui/nodes/x.js", "/ui/../etc/passwd", "/ui/__init__.py"]
)
def test_every_other_place_is_the_frame(target: str) -> None:
    assert answer(target).body == answer("/ui/").body


def test_the_root_leads_to_the_page_only_where_there_is_one() -> None:
    assert answer("/").headers == b"Location: /ui/\r\n"
    assert answer("/ui").headers == b"Location: /ui/\r\n"
    without = HTTPSettings()
    assert answer("/", settings=without).body == b"Consul Agent"
    assert answer("/ui/", settings=without).status == 404


def test_the_page_takes_nothing_but_get() -> None:
    assert answer("/ui/", method="PUT").status == 405
    assert answer("/ui/", method="OPTIONS").headers == b"Allow: OPTIONS,GET\r\n"


def test_blocked_paths_hold_for_the_page() -> None:
    settings = HTTPSettings(ui_content_path="/ui/", block_endpoints=("/ui",))
    assert answer("/ui/", settings=settings).status == 403


def test_another_path_is_written_into_the_frame() -> None:
    settings = HTTPSettings(ui_content_path="/a/b/")
    assert b'<base href="/a/b/">' in answer("/a/b/services", settings=settings).body
    assert answer("/ui/", settings=settings).status == 404
    assert b'<base href="/ui/">' in answer("/ui/").body


def test_another_page_is_read_from_its_folder(tmp_path: Path) -> None:
    (tmp_path / FRAME).write_text("own")
    (tmp_path / "deep").mkdir()
    (tmp_path / "deep" / "file.txt").write_text("text")
    page = load_page("/ui/", str(tmp_path))
    assert page.answer("deep/file.txt").body == b"text"
    assert page.answer("elsewhere").body == b"own"


def test_a_folder_without_a_frame_and_one_that_is_not_there_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigInvalid, match=r"has no index\.html"):
        load_page("/ui/", str(tmp_path))
    with pytest.raises(ConfigInvalid, match="no index"):
        load_page("/ui/", str(tmp_path / "nothing"))


def test_every_module_that_a_script_names_is_there() -> None:
    """There is no build step that would notice."""
    root = Path(__file__).parents[4] / "ui"
    for script in root.rglob("*.js"):
        for line in script.read_text(encoding="utf-8").splitlines():
            if line.startswith("import "):
                target = line.rpartition('from "')[2].rstrip('";')
                assert (script.parent / target).is_file(), (script.name, target)
