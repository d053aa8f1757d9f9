"""The web page among hostile names, odd values, thousands of rows, lost leaders, and pages of other sites."""

import base64
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import quote

import pytest
from selenium.webdriver.common.by import By

from jepsen.cluster import Cluster
from tests.clients.test_page import Page, call, driver, page  # noqa: F401  # the fixtures

HOSTILE = '"><img src=x onerror="window.foreign=1"><script>window.foreign=2</script>\''
HOSTILE_SEEN = "<script>window.foreign=2"
ENCODED = quote(HOSTILE, safe="")
PLACES = ("services", f"services/svc{ENCODED}", "nodes", f"nodes/node{ENCODED}", "kv/hostile/", f"kv/hostile/{ENCODED}",
          "sessions")  # fmt: skip
ROWS = 450
STEP = 200


def test_text_of_others_is_never_markup(page: Page) -> None:  # noqa: F811
    call(page, "PUT", "catalog/register", {
        "Node": f"node{HOSTILE}", "Address": HOSTILE, "NodeMeta": {"m": HOSTILE},
        "Service": {"ID": HOSTILE, "Service": f"svc{HOSTILE}", "Tags": [HOSTILE], "Meta": {"k": HOSTILE},
                    "Address": HOSTILE, "Port": 1},
        "Checks": [{"CheckID": f"{HOSTILE}{service}", "Name": HOSTILE, "Notes": HOSTILE, "Output": HOSTILE,
                    "Status": "critical", "ServiceID": service} for service in ("", HOSTILE)],
    })  # fmt: skip
    session = call(page, "PUT", "session/create", {"Name": HOSTILE, "TTL": "600s"})["ID"]
    call(page, "PUT", f"kv/hostile/{quote(HOSTILE, safe='')}?acquire={session}", HOSTILE.encode())
    try:
        for place in PLACES:
            page.open(place)
            page.shows(HOSTILE_SEEN)
            assert page.driver.execute_script("return window.foreign === undefined") is True
            assert page.driver.find_elements(By.CSS_SELECTOR, "main img, main script") == []
        assert page.complaints() == []
    finally:
        call(page, "PUT", "catalog/deregister", {"Node": f"node{HOSTILE}"})
        call(page, "PUT", f"session/destroy/{session}")


def test_a_name_that_no_browser_can_ask_for_is_told(page: Page) -> None:  # noqa: F811
    page.open("services/a%2F..%2Fb")
    page.shows("names with . or .. between slashes cannot be reached")
    assert page.complaints() == []


@pytest.mark.parametrize(
    "value", [b"a\r\nb\r\n", b"\xef\xbb\xbfa\nb", b"\n\na", b""], ids=["crlf", "mark", "feeds", "empty"]
)
def test_an_edited_value_keeps_the_bytes_that_were_not_edited(page: Page, value: bytes) -> None:  # noqa: F811
    call(page, "PUT", "kv/page/bytes", value)
    page.open("kv/page/bytes")
    page.shows("Modified at index")
    page.driver.execute_script("document.getElementById('value').value += 'c'")
    page.button("Save").click()
    page.shows("Saved.")
    assert base64.b64decode(call(page, "GET", "kv/page/bytes")[0]["Value"]) == value + b"c"


@pytest.mark.parametrize("value", [b"a\r\nb\n", b"a\rb"])
def test_a_value_that_a_browser_would_change_is_not_edited(page: Page, value: bytes) -> None:  # noqa: F811
    call(page, "PUT", "kv/page/mixed", value)
    page.open("kv/page/mixed")
    page.until(lambda: "line ends of several kinds" in (page.find("#value").get_attribute("value") or ""))
    assert page.find("#value").get_attribute("readonly") is not None


def test_long_lists_come_in_steps_and_a_change_moves_nobody(page: Page) -> None:  # noqa: F811
    rows = [{"ID": f"many-{number:03}", "Service": "page-many", "Port": number + 1} for number in range(ROWS)]
    call(page, "PUT", "catalog/register", {"Node": "page-many", "Address": "10.0.0.1"})
    for begin in range(0, ROWS, 50):
        services = [
            {"Service": {"Verb": "set", "Node": "page-many", "Service": row}} for row in rows[begin : begin + 50]
        ]
        call(page, "PUT", "txn", services)
    try:
        for place, css in (("services/page-many", "article"), ("nodes/page-many", "tbody tr")):
            page.open(place)
            page.shows("many-000")
            assert len(page.driver.find_elements(By.CSS_SELECTOR, css)) == STEP
            page.find("button.more").click()
            assert len(page.driver.find_elements(By.CSS_SELECTOR, css)) == 2 * STEP
            page.driver.execute_script("document.querySelector('main td a, main article a, main th a').focus()")
            held = page.driver.switch_to.active_element.text
            new = f"new-{css[:1]}"
            row = {"ID": new, "Service": "page-many", "Port": 7}
            check = {"CheckID": new, "Name": "all", "Status": "warning", "ServiceID": ""}
            call(page, "PUT", "catalog/register", {"Node": "page-many", "Address": "10.0.0.1", "Service": row,
                                                   "Check": check})  # fmt: skip
            page.shows("warning")
            assert len(page.driver.find_elements(By.CSS_SELECTOR, css)) == 2 * STEP
            assert page.driver.switch_to.active_element.text == held != ""
            call(page, "PUT", "catalog/deregister", {"Node": "page-many", "CheckID": new})
    finally:
        call(page, "PUT", "catalog/deregister", {"Node": "page-many"})


@pytest.fixture
def other_site() -> Iterator[str]:
    """Another origin; its only page does what the query says."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Type", "text/html")
            self.end_headers()
            self.wfile.write(b"<!doctype html><title>elsewhere</title>")

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002
            """Say nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_address[1]}/"
        server.shutdown()
        thread.join()


ATTACK = """
const [base, body, done] = arguments;
fetch(`${base}/v1/query`, {method: "POST", mode: "no-cors", body})
  .then(() => fetch(`${base}/v1/kv/page/foreign`, {method: "PUT", body}))
  .then(() => done("sent"), (error) => done("not sent"));
"""


def test_a_page_of_another_site_writes_nothing(page: Page, other_site: str) -> None:  # noqa: F811
    body = json.dumps({"Name": "page-foreign", "Service": {"Service": "consul"}})
    page.driver.get(other_site)
    assert page.driver.execute_async_script(ATTACK, page.base, body) == "not sent"  # the PUT, by the browser itself
    assert [row["Name"] for row in call(page, "GET", "query") if row["Name"] == "page-foreign"] == []
    page.open("services")
    page.find("h1")
    ours = "fetch('/v1/query', {method: 'POST', body: arguments[0]}).then((it) => arguments[1](it.status))"
    assert page.driver.execute_async_script(ours, body) == 200
    (made,) = [row["ID"] for row in call(page, "GET", "query") if row["Name"] == "page-foreign"]
    call(page, "DELETE", f"query/{made}")


def test_whoever_looks_is_told_that_nobody_leads(page: Page, cluster: Cluster) -> None:  # noqa: F811
    page.open("services")
    page.shows("consul")
    page.until(lambda: page.find("#connection").text == "Live")
    stopped = cluster.servers[:2]
    for server in stopped:
        server.pause()
    try:
        page.until(lambda: page.find("#connection").text == "No leader")
    finally:
        for server in stopped:
            server.resume()
    page.until(lambda: page.find("#connection").text == "Live")
