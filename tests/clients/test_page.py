"""The web page in a real browser, headless Chromium: what a person sees and does, by mouse and by keyboard.

Needs Debian's `chromium` and `chromium-driver` (scripts/prepare-browser). MESH_SCREENSHOTS names a folder for pictures.
"""

import json
import os
import shutil
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

import pytest
from selenium import webdriver
from selenium.common.exceptions import StaleElementReferenceException
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.remote.webelement import WebElement
from selenium.webdriver.support.ui import WebDriverWait

from jepsen.cluster import Cluster

PATIENCE_S = 60
NOT_OURS = "favicon"
OPTIONS = (
    "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--window-size=1280,900",
    "--force-prefers-reduced-motion",  # colours are measured: none may be on its way from one to another
    "--disable-background-networking", "--disable-component-update", "--disable-sync", "--disable-dev-shm-usage",
)  # fmt: skip
T = TypeVar("T")


class Page:
    """One browser window on the page of one agent."""

    def __init__(self, driver: webdriver.Chrome, address: str) -> None:
        self.driver = driver
        self.base = f"http://{address}"

    def open(self, place: str) -> None:
        self.driver.get(f"{self.base}/ui/{place}")

    def until(self, condition: Callable[[], T]) -> T:
        def attempt(_: object) -> T:
            return condition()

        return WebDriverWait(self.driver, PATIENCE_S, poll_frequency=0.1).until(attempt)

    def text(self) -> str:
        return self.driver.find_element(By.TAG_NAME, "main").get_attribute("innerText") or ""

    def shows(self, *texts: str) -> None:
        """Wait until all of these can be read."""
        try:
            self.until(lambda: all(text in self.text() for text in texts))
        except Exception as error:
            raise AssertionError(f"the page does not show {texts}, but: {self.text()}") from error

    def shows_not(self, text: str) -> None:
        self.until(lambda: text not in self.text())

    def find(self, css: str) -> WebElement:
        return self.until(lambda: next(iter(self.driver.find_elements(By.CSS_SELECTOR, css)), None))  # type: ignore[return-value]

    def button(self, text: str) -> WebElement:
        path = f"//button[normalize-space()='{text}' and not(@hidden)]"
        return self.until(lambda: next(iter(self.driver.find_elements(By.XPATH, path)), None))  # type: ignore[return-value]

    def press(self, css: str) -> None:
        """Click on what is there by now: what is live may be painted anew between finding it and clicking."""
        self._press(lambda: self.find(css))

    def press_button(self, text: str) -> None:
        """The same for a button with this text."""
        self._press(lambda: self.button(text))

    def _press(self, find: Callable[[], WebElement]) -> None:
        def attempt() -> bool:
            try:
                find().click()
            except StaleElementReferenceException:
                return False
            return True

        self.until(attempt)

    def replace_value(self, text: str) -> None:
        area = self.find("#value")
        area.click()
        area.send_keys(Keys.CONTROL, "a")
        area.send_keys(text)

    def picture(self, name: str) -> None:
        folder = os.environ.get("MESH_SCREENSHOTS", "")
        if folder:
            self.driver.save_screenshot(str(Path(folder) / f"{name}.png"))

    def complaints(self) -> list[str]:
        """What the browser's console has against us: scripts that fail, things that the policy forbids."""
        rows: list[dict[str, Any]] = self.driver.get_log("browser")  # type: ignore[no-untyped-call]
        return [row["message"] for row in rows if NOT_OURS not in row["message"]]


@pytest.fixture(scope="module")
def driver(tmp_path_factory: pytest.TempPathFactory) -> Iterator[webdriver.Chrome]:
    browser, operator = shutil.which("chromium"), shutil.which("chromedriver")
    assert browser is not None, "no chromium: run scripts/prepare-browser"
    assert operator is not None, "no chromedriver: run scripts/prepare-browser"
    options = webdriver.ChromeOptions()
    options.binary_location = browser
    for option in OPTIONS:
        options.add_argument(option)
    options.add_argument(f"--user-data-dir={tmp_path_factory.mktemp('browser')}")
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    found = webdriver.Chrome(options=options, service=Service(operator))
    try:
        yield found
    finally:
        found.quit()


@pytest.fixture
def page(driver: webdriver.Chrome, cluster: Cluster) -> Page:
    found = Page(driver, cluster.agents[0].http_address)
    found.complaints()
    return found


def call(page: Page, method: str, path: str, body: object = None) -> Any:
    """The API, beside the page."""
    data = body if isinstance(body, bytes) else None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(f"{page.base}/v1/{path}", data=data, method=method)
    with urllib.request.urlopen(request, timeout=30) as answer:
        text = answer.read()
    return json.loads(text) if text else None


def register(page: Page, node: str, service_id: str, status: str, output: str = "") -> None:
    call(page, "PUT", "catalog/register", {
        "Node": node, "Address": "10.9.8.7",
        "Service": {"ID": service_id, "Service": "page-web", "Tags": ["blue"], "Port": 8080},
        "Check": {"CheckID": f"{service_id}-http", "Name": "HTTP", "ServiceID": service_id, "Status": status,
                  "Output": output},
    })  # fmt: skip


def test_services_change_before_the_eyes_of_whoever_looks(page: Page) -> None:
    register(page, "page-node", "page-web-1", "passing")
    page.open("services")
    page.shows("page-web", "1 passing", "blue")
    register(page, "page-node", "page-web-1", "critical", "connection refused")
    page.shows("1 critical")
    page.picture("services")
    page.press("a[href='services/page-web']")
    page.shows("page-web-1", "10.9.8.7:8080", "connection refused", "page-node")
    page.picture("service")
    assert page.driver.title == "Service page-web · mesh"
    call(page, "PUT", "catalog/deregister", {"Node": "page-node", "ServiceID": "page-web-1"})
    page.shows("has no instances")
    assert page.complaints() == []


def test_services_are_found_by_name_and_by_state(page: Page) -> None:
    register(page, "page-node", "page-web-2", "warning")
    page.open("services")
    page.shows("page-web", "consul")
    page.find("input[type=search]").send_keys("page-w")
    page.shows_not("consul")
    page.press("option[value=passing]")
    page.shows("No service matches")
    call(page, "PUT", "catalog/deregister", {"Node": "page-node", "ServiceID": "page-web-2"})


def test_nodes_and_what_runs_on_one(page: Page) -> None:
    register(page, "page-node", "page-web-3", "passing")
    page.open("nodes")
    page.shows("page-node", "10.9.8.7")
    page.press("a[href='nodes/page-node']")
    page.shows("page-web-3", "8080")
    page.picture("node")
    page.open("nodes/nobody")
    page.shows("This node is unknown")
    assert [line for line in page.complaints() if "404" not in line] == []


def test_a_key_is_made_edited_and_deleted(page: Page) -> None:
    page.open("kv/")
    page.find("#new-key").send_keys("page/é & <b>/key", Keys.ENTER)
    page.shows("does not exist yet")
    page.replace_value("first <script>alert(1)</script>")
    page.press_button("Create")
    page.shows("Saved.")
    key = "kv/page/%C3%A9%20&%20%3Cb%3E/key"
    assert call(page, "GET", key)[0]["Value"] == "Zmlyc3QgPHNjcmlwdD5hbGVydCgxKTwvc2NyaXB0Pg=="
    page.open("kv/page/")
    page.shows("é & <b>/", "folder")
    page.picture("keys")
    page.open(key)
    page.shows("Modified at index")
    page.picture("key")
    page.press_button("Delete")
    page.press("dialog button.danger")
    page.shows("There are no keys here")
    assert [line for line in page.complaints() if "404" not in line] == []


def test_what_somebody_else_has_changed_meanwhile_is_not_overwritten(page: Page) -> None:
    call(page, "PUT", "kv/page/shared", b"theirs")
    page.open("kv/page/shared")
    page.until(lambda: page.find("#value").get_attribute("value") == "theirs")
    page.replace_value("mine")
    call(page, "PUT", "kv/page/shared", b"theirs, newer")
    page.shows("Somebody changed this key")
    page.press_button("Save")
    page.shows("nothing was saved")
    assert call(page, "GET", "kv/page/shared")[0]["Value"] == "dGhlaXJzLCBuZXdlcg=="
    page.press_button("Show the new value")
    page.until(lambda: page.find("#value").get_attribute("value") == "theirs, newer")


def test_an_untouched_editor_follows_the_key(page: Page) -> None:
    call(page, "PUT", "kv/page/followed", b"one")
    page.open("kv/page/followed")
    page.until(lambda: page.find("#value").get_attribute("value") == "one")
    call(page, "PUT", "kv/page/followed", b"two")
    page.until(lambda: page.find("#value").get_attribute("value") == "two")


def test_bytes_that_are_no_text_are_not_edited_as_such(page: Page) -> None:
    call(page, "PUT", "kv/page/binary", b"\xff\xfe\x00")
    page.open("kv/page/binary")
    page.until(lambda: "3 bytes that are not text" in (page.find("#value").get_attribute("value") or ""))
    assert page.find("#value").get_attribute("readonly") is not None


def test_a_folder_named_like_a_step_up_is_refused_not_resolved(page: Page) -> None:
    """A browser would resolve `a/../` to everything, and a deletion would delete it."""
    call(page, "PUT", "kv/page/kept", b"1")
    page.open("kv/")
    refused = page.driver.execute_async_script("""
        const done = arguments[0];
        import("/ui/api.js").then(({path}) => {
            try { done(path("kv", "a/../")); } catch (error) { done(error.message); }
        });
    """)
    assert "cannot be reached from a browser" in refused


def test_sessions_with_their_locks_and_their_end(page: Page) -> None:
    session = call(page, "PUT", "session/create", {"Name": "page-session", "TTL": "60s", "Behavior": "delete"})["ID"]
    assert call(page, "PUT", f"kv/page/lock?acquire={session}", b"me") is True
    page.open("sessions")
    page.shows("page-session", session, "page/lock", "keys are deleted")
    page.picture("sessions")
    page.press(f"button[aria-label='End session {session}']")
    page.press("dialog button.danger")
    page.shows_not(session)
    with pytest.raises(urllib.error.HTTPError):
        call(page, "GET", "kv/page/lock")


def test_the_cluster_with_its_leader_and_members(page: Page, cluster: Cluster) -> None:
    page.open("cluster")
    page.shows("healthy", "leader", *(node.name for node in (*cluster.servers, *cluster.agents)))
    page.picture("cluster")
    assert page.complaints() == []


def test_the_page_is_used_by_keyboard_alone(page: Page) -> None:
    page.open("services")
    page.find("h1")
    page.find("body").send_keys(Keys.TAB)
    first = page.driver.switch_to.active_element
    assert first.text == "Skip to content"
    first.send_keys(Keys.ENTER)
    assert page.driver.switch_to.active_element.get_attribute("id") == "main"
    page.find("#navigation a[href='cluster']").send_keys(Keys.ENTER)
    page.until(lambda: page.driver.title == "Cluster · mesh")
    assert page.driver.switch_to.active_element.get_attribute("id") == "main"
    page.driver.back()
    page.until(lambda: page.driver.title == "Services · mesh")


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_all_text_stands_out_from_what_is_behind_it(page: Page, theme: str) -> None:
    """WCAG 2.1, 1.4.3: 4.5 to 1. Measured in the browser, element by element."""
    register(page, "page-node", "page-web-4", "critical", "broken")
    page.open("services")
    page.shows("page-web")
    page.driver.execute_script("document.documentElement.dataset.theme = arguments[0]", theme)
    poor = page.driver.execute_script(CONTRAST)
    page.picture(f"services-{theme}")
    call(page, "PUT", "catalog/deregister", {"Node": "page-node", "ServiceID": "page-web-4"})
    assert poor == []


CONTRAST = """
const parse = (text) => text.match(/[\\d.]+/g).map(Number);
const linear = (v) => v <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4;
const light = ([r, g, b]) => [r, g, b].map((v) => linear(v / 255))
  .reduce((sum, v, i) => sum + v * [0.2126, 0.7152, 0.0722][i], 0);
const behind = (element) => {
  for (let at = element; at; at = at.parentElement) {
    const colour = parse(getComputedStyle(at).backgroundColor);
    if (colour.length < 4 || colour[3] > 0) return colour;
  }
  return [255, 255, 255];
};
const poor = [];
for (const element of document.querySelectorAll("body *")) {
  const own = [...element.childNodes].some((node) => node.nodeType === 3 && node.data.trim());
  if (!own || !element.getClientRects().length || element.closest("noscript")) continue;
  const pair = [light(parse(getComputedStyle(element).color)), light(behind(element))].sort((a, b) => b - a);
  const ratio = (pair[0] + 0.05) / (pair[1] + 0.05);
  if (ratio < 4.5) poor.push(`${element.tagName} ${element.textContent.trim().slice(0, 30)} ${ratio.toFixed(2)}`);
}
return poor;
"""


def test_every_control_has_a_name_and_every_picture_a_text(page: Page) -> None:
    for place in ("services", "nodes", "kv/", "sessions", "cluster"):
        page.open(place)
        page.find("h1")
        nameless = page.driver.execute_script("""
            return [...document.querySelectorAll("button, input, select, textarea, a")].filter((element) => {
              const label = element.labels && element.labels[0];
              return element.checkVisibility() && !(element.getAttribute("aria-label") || element.textContent.trim()
                || (label && label.textContent.trim()));
            }).map((element) => element.outerHTML);
        """)
        assert nameless == [], place
        assert page.driver.execute_script("return document.querySelectorAll('img:not([alt])').length") == 0
        assert page.driver.execute_script("return document.querySelectorAll('h1').length") == 1


def test_nothing_but_our_own_files_may_run(page: Page) -> None:
    page.open("services")
    page.find("h1")
    page.driver.execute_script("""
        const script = document.createElement("script");
        script.textContent = "window.foreign = true";
        document.body.append(script);
    """)
    assert page.driver.execute_script("return window.foreign === undefined") is True
    assert any("Content Security Policy" in line for line in page.complaints())
