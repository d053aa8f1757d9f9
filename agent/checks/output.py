"""Sans-IO: what is kept of a check's output, and the texts around it. Sources: agent specification, section 4."""

from agent.checks.interface import CheckSettings
from base.durations import format_duration
from structs.check_spec import CheckSpec


class Tail:
    """Keeps the last `bytes_max` of what is fed to it; never holds more than twice that and one piece."""

    __slots__ = ("_bytes_max", "_kept", "count")

    def __init__(self, bytes_max: int) -> None:
        self._bytes_max = bytes_max
        self._kept = bytearray()
        self.count = 0
        """Bytes that were fed."""

    def feed(self, data: bytes | bytearray) -> None:
        """Take the next piece."""
        self.count += len(data)
        self._kept += data[-self._bytes_max :]
        if len(self._kept) > 2 * self._bytes_max:
            del self._kept[: -self._bytes_max]

    def text(self) -> str:
        """Return what is kept. Bytes that are no UTF-8 become U+FFFD, one that was cut in two is left out."""
        kept = bytes(self._kept[-self._bytes_max :])
        if self.count > len(kept):
            kept = kept.lstrip(bytes(range(0x80, 0xC0)))
        return kept.decode("utf-8", "replace")

    def program_text(self) -> str:
        """Return the same with a word about what was left out, as for programs."""
        if self.count <= self._bytes_max:
            return self.text()
        return f"Captured {self._bytes_max} of {self.count} bytes\n...\n{self.text()}"


def output_bytes_max(spec: CheckSpec, settings: CheckSettings) -> int:
    """Return how much output of this check is kept."""
    return min(spec.output_bytes_max or settings.output_bytes_max, settings.output_bytes_max)


def cut_note(text: str, bytes_max: int) -> str:
    """Return what a client said of a TTL check, cut from behind where it is too long."""
    data = text.encode("utf-8", "replace")
    if len(data) <= bytes_max:
        return text
    return f"{data[:bytes_max].decode('utf-8', 'ignore')} ... (captured {bytes_max} of {len(data)} bytes)"


def timed_out_text(timeout_s: float, tail: Tail) -> str:
    """Return what is said of a program that took too long."""
    text = f"Timed out ({format_duration(timeout_s)}) running check"
    return f"{text}\n\n{tail.program_text()}" if tail.count else text
