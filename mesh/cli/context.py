"""What a command gets: its flags and arguments, where to write, what to read, and the client of its agent."""

from collections.abc import Mapping
from functools import cached_property
from typing import TYPE_CHECKING, BinaryIO

from base.errors import InvalidRequest
from mesh.cli.flags import Given
from mesh.cli.output import Output

if TYPE_CHECKING:
    from mesh.client import Client
    from mesh.query import Read

INPUT_BYTES_MAX = 1 << 30
"""What @FILE and standard input may hold: an import of everything."""


class Context:
    """One invocation."""

    def __init__(self, given: Given, environment: Mapping[str, str], output: Output, stdin: BinaryIO) -> None:
        self.given = given
        self.environment = environment
        self.output = output
        self._stdin = stdin

    @cached_property
    def client(self) -> "Client":
        """The agent that the flags or the environment name; raises InvalidRequest. Connects on first use."""
        from mesh.address import TLSFiles
        from mesh.client import Client

        given = self.given
        token = given.text("token")
        if not token and given.text("token-file"):
            token = self.file(given.text("token-file")).decode("utf-8", "replace").strip()
        return Client(
            given.text("http-addr"),
            token=token,
            datacenter=self._datacenter(),
            tls=TLSFiles(
                ca_file=given.text("ca-file"),
                ca_path=given.text("ca-path"),
                cert_file=given.text("client-cert"),
                key_file=given.text("client-key"),
                server_name=given.text("tls-server-name"),
            ),
            attempts_max=1,
            environment=self.environment,
        )

    def close(self) -> None:
        """Close the connections, if there are any."""
        if "client" in self.__dict__:
            self.client.close()

    def _datacenter(self) -> str:
        try:
            return self.given.text("datacenter")
        except KeyError:
            return ""

    def read(self) -> "Read":
        """How the command's reads want to be answered."""
        from mesh.query import Read
        from structs.query import Consistency

        return Read(consistency=Consistency.STALE if self.given.switch("stale") else Consistency.DEFAULT)

    def argument(self, name: str) -> str:
        """The one argument of the command; raises InvalidRequest."""
        found = self.given.arguments
        if not found:
            raise InvalidRequest(f"Missing {name} argument")
        if len(found) > 1:
            raise InvalidRequest(f"Too many arguments (expected 1, got {len(found)})")
        return found[0]

    def content(self, text: str) -> bytes:
        """What a DATA argument means: itself, @FILE, or - for standard input; raises InvalidRequest."""
        if text == "-":
            return self._bounded(self._stdin, "standard input")
        if text.startswith("@"):
            return self.file(text[1:])
        return text.encode("utf-8", "surrogateescape")

    def file(self, path: str) -> bytes:
        """The bytes of a file; raises InvalidRequest."""
        try:
            with open(path, "rb") as file:
                return self._bounded(file, path)
        except OSError as error:
            raise InvalidRequest(f"Failed to read file: open {path}: {error.strerror}") from error

    def _bounded(self, file: BinaryIO, name: str) -> bytes:
        data = file.read(INPUT_BYTES_MAX + 1)
        if len(data) > INPUT_BYTES_MAX:
            raise InvalidRequest(f"{name} is larger than {INPUT_BYTES_MAX} bytes")
        return data
