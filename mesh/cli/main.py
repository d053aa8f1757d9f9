"""Entry point of `mesh`: finds the command, takes its flags, runs it; exit codes.

0 success, 1 error, 2 where a command says so, 127 for a command that does not exist, 130 after Ctrl-C.
"""

import os
import sys
from collections.abc import Mapping, Sequence
from typing import BinaryIO, TextIO

from base.errors import InvalidRequest, MeshError
from mesh.cli.context import Context
from mesh.cli.flags import parse
from mesh.cli.output import Output
from mesh.cli.registry import COMMANDS, GROUPS, Command

EXIT_ERROR = 1
EXIT_UNKNOWN_COMMAND = 127
EXIT_INTERRUPTED = 130
WORDS_MAX = max(path.count(" ") for path in COMMANDS) + 1


def main() -> int:
    """The console script."""
    _open_what_is_closed()
    try:
        return run(sys.argv[1:], os.environ, sys.stdin.buffer, sys.stdout.buffer, sys.stderr)
    except KeyboardInterrupt:
        return EXIT_INTERRUPTED
    except BrokenPipeError:
        _forget_output()
        return EXIT_ERROR
    except OSError as error:
        # Files that a command is told to read or write are its own to complain about: this was the output.
        _forget_output()
        Output(sys.stdout.buffer, sys.stderr).error(f"Error! Failed to write: {error.strerror or error}")
        return EXIT_ERROR


def _open_what_is_closed() -> None:
    """Started with a closed standard stream: what is opened next would take its place, and be written to."""
    if None in (sys.stdin, sys.stdout, sys.stderr):
        while (descriptor := os.open(os.devnull, os.O_RDWR)) < 3:
            continue
        os.close(descriptor)
        sys.stdin = sys.stdin or open(0, closefd=False, encoding="utf-8")  # noqa: SIM115  # open until the end
        sys.stdout = sys.stdout or open(1, "w", closefd=False, encoding="utf-8")  # noqa: SIM115
        sys.stderr = sys.stderr or open(2, "w", closefd=False, encoding="utf-8")  # noqa: SIM115


def _forget_output() -> None:
    """Nobody takes it: leave nothing for the interpreter to flush at exit."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)


def run(words: Sequence[str], environment: Mapping[str, str], stdin: BinaryIO, stdout: BinaryIO, stderr: TextIO) -> int:
    """Run one command line and return its exit code."""
    output = Output(stdout, stderr)
    if words and words[0] in ("-v", "-version", "--version"):
        words = ["version"]
    command, rest = _find(words)
    if command is None:
        return _no_command(words, output)
    if command.path == "agent" and not set(rest) & {"-h", "-help", "--help"}:
        rest = ["--", *rest]  # its flags are the agent's business
    try:
        given = parse(command.flags, rest)
    except InvalidRequest as error:
        output.error(f"Error parsing command-line flags: {error}\n\n{command.usage()}")
        return EXIT_ERROR
    if given.help_wanted:
        output.line(command.usage())
        return 0
    context = Context(given, environment, output, stdin)
    try:
        return command.handler()(context)
    except InvalidRequest as error:
        output.error(f"Error! {error}")
        return EXIT_ERROR
    except MeshError as error:
        output.error(f"Error querying Consul agent: {error}")
        return EXIT_ERROR
    finally:
        context.close()


def _find(words: Sequence[str]) -> tuple[Command | None, Sequence[str]]:
    for count in range(min(WORDS_MAX, len(words)), 0, -1):
        command = COMMANDS.get(" ".join(words[:count]))
        if command is not None:
            return command, words[count:]
    return None, ()


def _no_command(words: Sequence[str], output: Output) -> int:
    plain = []
    for word in words:
        if word.startswith("-"):
            break
        plain.append(word)
    wanted = any(word in ("-h", "-help", "--help") for word in words)
    group = " ".join(plain)
    if group and group not in GROUPS:
        output.error(_overview("") + f"\n\nError! Unknown command: mesh {group}")
        return EXIT_UNKNOWN_COMMAND
    if wanted:
        output.line(_overview(group))
        return 0
    output.error(_overview(group))
    return EXIT_ERROR if group else EXIT_UNKNOWN_COMMAND


def _overview(group: str) -> str:
    prefix = f"{group} " if group else ""
    rows: dict[str, str] = {}
    for path, command in COMMANDS.items():
        if path.startswith(prefix):
            word, _, deeper = path[len(prefix) :].partition(" ")
            rows[word] = GROUPS[prefix + word] if deeper else command.summary
    width = max(map(len, rows)) + 4
    lines = [f"Usage: mesh {prefix}<command> [options] [arguments]", "", "Commands:", ""]
    lines += [f"    {word.ljust(width)}{summary}" for word, summary in sorted(rows.items())]
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
