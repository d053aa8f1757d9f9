"""Log lines: their shape, what they never show, and that they never block."""

import json
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from base.log import LINE_BYTES_MAX, LINES_KEPT, Level, Logger, LogSink
from base.secret import Secret, masked_path


class Pipe:
    """A pipe as the reader of the log."""

    def __init__(self) -> None:
        self.read_end, self.write_end = os.pipe()
        os.set_blocking(self.read_end, False)

    def text(self) -> str:
        """Everything that was written so far."""
        data = b""
        while True:
            try:
                data += os.read(self.read_end, 1 << 16)
            except BlockingIOError:
                return data.decode()


@pytest.fixture
def pipe() -> Iterator[Pipe]:
    made = Pipe()
    yield made
    os.close(made.read_end)
    os.close(made.write_end)


def sink_into(pipe: Pipe, **options: object) -> LogSink:
    sink = LogSink(clock=lambda: 1_795_428_000.123)
    sink.configure(descriptor=pipe.write_end, **{"level": "INFO", **options})  # type: ignore[arg-type]
    return sink


def test_a_line_has_time_level_name_message_and_fields(pipe: Pipe) -> None:
    Logger("raft", sink_into(pipe)).info("became leader", term=7, peer="a b", share=0.5, none=None)
    assert pipe.text() == '2026-11-23T10:00:00.123Z [INFO] raft: became leader term=7 peer="a b" share=0.5 none=None\n'


def test_json_lines_hold_the_same(pipe: Pipe) -> None:
    Logger("raft", sink_into(pipe, as_json=True)).warn("slow", seconds=1.5, path=Path("/x"))
    row = json.loads(pipe.text())
    assert (row["@level"], row["@module"], row["@message"]) == ("warn", "raft", "slow")
    assert (row["seconds"], row["path"]) == (1.5, "/x")


def test_lines_below_the_level_are_not_written_and_the_level_can_change(pipe: Pipe) -> None:
    sink = sink_into(pipe, level="WARN")
    logger = Logger("x", sink)
    for write in (logger.trace, logger.debug, logger.info, logger.warn, logger.error):
        write("one")
    assert pipe.text().count("\n") == 2
    sink.set_level("TRACE")
    assert logger.is_enabled(Level.TRACE)
    for write in (logger.trace, logger.debug, logger.info, logger.warn, logger.error):
        write("two")
    assert pipe.text().count("\n") == 5


def test_a_value_cannot_forge_a_second_line(pipe: Pipe) -> None:
    Logger("http", sink_into(pipe)).info("request\nfake", path="/a\n2026 [ERR] x: y\x1b[2J")
    assert pipe.text().count("\n") == 1


def test_secrets_are_hidden_by_type_and_by_name(pipe: Pipe) -> None:
    Logger("acl", sink_into(pipe)).info("x", who=Secret("s3cret"), token="s3cret", empty=Secret())
    text = pipe.text()
    assert "s3cret" not in text
    assert text.count("<hidden>") == 2
    assert "s3cret" not in repr(Secret("s3cret")) + str(Secret("s3cret")) + f"{Secret('s3cret')}"


def test_tokens_in_paths_are_hidden() -> None:
    assert masked_path("/v1/kv/a?token=abc&raw") == "/v1/kv/a?token=<hidden>&raw"
    assert masked_path("/v1/acl/info/abc?x") == "/v1/acl/info/<hidden>?x"
    assert masked_path("/v1/kv/token=1") == "/v1/kv/token=1"


def test_a_full_pipe_drops_lines_and_says_so_later(pipe: Pipe) -> None:
    sink = sink_into(pipe)
    logger = Logger("x", sink)
    for number in range(2_000):
        logger.info("x" * 200, number=number)
    assert sink.lines_dropped_count > 0
    dropped = sink.lines_dropped_count
    pipe.text()
    logger.info("after")
    assert f"lines_dropped_before={dropped}" in pipe.text()


def test_long_lines_are_cut_so_that_they_are_written_whole(pipe: Pipe) -> None:
    Logger("x", sink_into(pipe)).info("é" * LINE_BYTES_MAX)
    text = pipe.text()
    assert len(text.encode()) <= LINE_BYTES_MAX
    assert text.endswith("...\n")


def test_a_closed_reader_stops_nothing(pipe: Pipe) -> None:
    other = Pipe()
    sink = sink_into(other)
    os.close(other.read_end)
    Logger("x", sink).info("into the void")
    os.close(other.write_end)
    assert sink.lines_dropped_count == 1


def test_the_log_file_is_written_too_and_can_be_rotated(pipe: Pipe, tmp_path: Path) -> None:
    path = tmp_path / "mesh.log"
    sink = sink_into(pipe, file_path=str(path))
    logger = Logger("x", sink)
    logger.info("first")
    path.rename(tmp_path / "old.log")
    sink.reopen()
    logger.info("second")
    sink.close()
    logger.info("third")
    assert "first" in (tmp_path / "old.log").read_text()
    assert path.read_text().count("\n") == 1
    assert pipe.text().count("\n") == 3


def test_a_tap_gets_the_newest_lines_and_then_each_that_is_written(pipe: Pipe) -> None:
    sink = sink_into(pipe)
    logger = Logger("x", sink)
    for number in range(LINES_KEPT + 10):
        logger.info("old", number=number)
        pipe.text()
    tap = sink.follow(Level.WARN)
    assert tap.take() == ([], 0)
    tap = sink.follow(Level.INFO)
    lines, missed = tap.take()
    assert (len(lines), missed, lines[0].fields["number"]) == (LINES_KEPT, 0, 10)
    logger.warn("new", token="sesame", trace="x" * 10_000)
    ((line,), _) = tap.take()
    assert line.text(as_json=False).startswith("2026-11-23T10:00:00.123Z [WARN] x: new token=<hidden> trace=xxx")
    assert json.loads(line.text(as_json=True))["@level"] == "warn"
    assert len(line.text(as_json=False)) < 2 * LINE_BYTES_MAX


def test_a_tap_below_the_level_of_the_log_sees_more_and_the_log_stays_as_it_is(pipe: Pipe) -> None:
    sink = sink_into(pipe)
    logger = Logger("x", sink)
    tap = sink.follow(Level.DEBUG)
    logger.debug("details")
    logger.trace("more details")
    assert [line.message for line in tap.take()[0]] == ["details"]
    assert pipe.text() == ""
    sink.unfollow(tap)
    assert not logger.is_enabled(Level.DEBUG)
    logger.debug("details")
    assert (tap.take(), sink.taps_count) == (([], 0), 0)
    assert sink.follow(Level.TRACE).take() == ([], 0)


def test_a_tap_that_nobody_empties_misses_lines_and_knows_how_many(pipe: Pipe) -> None:
    sink = sink_into(pipe, level="ERR")
    tap = sink.follow(Level.INFO)
    for _ in range(LINES_KEPT + 7):
        Logger("x", sink).info("a")
    lines, missed = tap.take()
    assert (len(lines), missed) == (LINES_KEPT, 7)
    assert tap.take() == ([], 0)
