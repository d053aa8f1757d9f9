"""The part of `scripts/demo` about discovery: services with checks, one that breaks, and who is told of it."""

import json
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import quote

import dns.message
import dns.query
import dns.rcode
import trio
from rich.console import Console
from rich.table import Table

from jepsen.cluster import Node

NAMES = ("api", "db", "web")
BROKEN = "web"
"""The one that is broken, and comes back."""
PORTS_FROM = 9001
DOMAIN = "service.consul"
CHECK_INTERVAL = "1s"
TIMEOUT_S = 60.0
DNS_TIMEOUT_S = 5.0
POLL_S = 0.05


class NotSeen(Exception):
    """What was promised did not become visible in time."""


class Backends:
    """Stands for three programs: says on `/health/<name>` whether each is well."""

    def __init__(self) -> None:
        self.broken: set[str] = set()
        broken = self.broken

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                is_well = self.path.rpartition("/")[2] not in broken
                body = b"fine\n" if is_well else b"the database is on fire\n"
                self.send_response(200 if is_well else 503)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: object) -> None:
                """Nobody reads it here."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.address = f"127.0.0.1:{self._server.server_address[1]}"

    @contextmanager
    def running(self) -> Iterator[None]:
        """Answer until the block ends."""
        thread = threading.Thread(target=self._server.serve_forever, daemon=True)
        thread.start()
        try:
            yield
        finally:
            self._server.shutdown()
            self._server.server_close()
            thread.join()


class Discovery:
    """Registers, breaks and mends services at one agent, and watches what another one tells of it."""

    def __init__(self, *, at: Node, asked: Node, folder: Path, console: Console, say: Callable[[str], None]) -> None:
        self._at = at
        self._asked = asked
        self._folder = folder
        self._console = console
        self._say = say
        self._backends = Backends()

    async def run(self) -> None:
        """All steps; raises NotSeen, trio.TooSlowError."""
        with self._backends.running():
            await self._register()
            took_s = await self._until(lambda told: all(told[name] == ("passing", True, True) for name in NAMES))
            self._say(f"three services are [green]passing[/], in HTTP and in DNS of {self._asked.name}: {took_s:.1f} s")
            self._show(await self._told())
            await trio.to_thread.run_sync(self._dig)
            self._backends.broken.add(BROKEN)
            self._say(f"{BROKEN} answers its check with [red]503[/] from now on")
            took_s = await self._until(lambda told: told[BROKEN] == ("critical", False, False))
            self._say(f"{BROKEN} is [red]critical[/] and gone from the answers: {took_s:.1f} s")
            self._show(await self._told())
            self._backends.broken.clear()
            took_s = await self._until(lambda told: told[BROKEN] == ("passing", True, True))
            self._say(f"{BROKEN} is mended, and [green]back[/] in both: {took_s:.1f} s")

    async def _register(self) -> None:
        """As an operator does it: a file, and one command."""
        services = [
            {"name": name, "port": PORTS_FROM + number, "address": "127.0.0.1", "tags": ["demo"],
             "check": {"http": f"http://{self._backends.address}/health/{name}", "interval": CHECK_INTERVAL}}
            for number, name in enumerate(NAMES)
        ]  # fmt: skip
        self._folder.mkdir(parents=True, exist_ok=True)
        path = self._folder / "services.json"
        path.write_text(json.dumps({"services": services}, indent=2), encoding="utf-8")
        mesh = Path(sys.executable).parent / "mesh"
        command = [str(mesh), "services", "register", f"-http-addr=http://{self._at.http_address}", str(path)]
        done = await trio.run_process(
            command, capture_stdout=True, capture_stderr=True, check=False, stdin=subprocess.DEVNULL
        )
        self._console.print("[dim]$ mesh services register services.json[/]", highlight=False)
        self._console.print((done.stdout or done.stderr).decode().rstrip(), highlight=False, markup=False)
        if done.returncode:
            raise NotSeen(f"mesh services register ended with {done.returncode}: {done.stderr.decode()}")

    async def _until(self, holds: Callable[[dict[str, tuple[str, bool, bool]]], bool]) -> float:
        began_s = trio.current_time()
        with trio.move_on_after(TIMEOUT_S):
            while not holds(await self._told()):  # noqa: ASYNC110  what other processes tell, polled as a client does
                await trio.sleep(POLL_S)
            return trio.current_time() - began_s
        raise NotSeen(f"not seen within {TIMEOUT_S:g} s; what is told: {await self._told()}")

    async def _told(self) -> dict[str, tuple[str, bool, bool]]:
        """Name -> status of its check, whether HTTP lists it as passing, and whether DNS has it."""
        found = {}
        for name in NAMES:
            checks = await self._rows(f"/v1/health/checks/{quote(name)}")
            listed = await self._rows(f"/v1/health/service/{quote(name)}?passing")
            rcode, addresses = await trio.to_thread.run_sync(self._resolve, name)
            assert bool(addresses) == (rcode == dns.rcode.NOERROR), (name, rcode, addresses)
            found[name] = (checks[0]["Status"] if checks else "unknown", bool(listed), bool(addresses))
        return found

    async def _rows(self, path: str) -> list[dict[str, Any]]:
        reply = await self._asked.request("GET", path)
        return list(reply.json()) if reply.status == 200 else []

    def _resolve(self, name: str) -> tuple[int, list[str]]:
        host, _, port = self._asked.dns_address.rpartition(":")
        question = dns.message.make_query(f"{name}.{DOMAIN}", "A")
        answer = dns.query.udp(question, host, port=int(port), timeout=DNS_TIMEOUT_S)
        return answer.rcode(), [str(record) for row in answer.answer for record in row]

    def _dig(self) -> None:
        """Show what `dig` prints, where it is installed."""
        if shutil.which("dig") is None:
            return
        host, _, port = self._asked.dns_address.rpartition(":")
        words = ["dig", f"@{host}", "-p", port, f"{BROKEN}.{DOMAIN}", "SRV", "+noall", "+answer", "+additional"]
        done = subprocess.run(words, capture_output=True, text=True, check=True, timeout=TIMEOUT_S)
        self._console.print(f"[dim]$ {' '.join(words)}[/]", highlight=False)
        self._console.print(done.stdout.rstrip(), highlight=False, markup=False)

    def _show(self, told: dict[str, tuple[str, bool, bool]]) -> None:
        table = Table("service", "check", "in /v1/health/service?passing", "in DNS")
        for name, (status, listed, resolved) in told.items():
            table.add_row(name, status, "yes" if listed else "no", "yes" if resolved else "no")
        self._console.print(table)
