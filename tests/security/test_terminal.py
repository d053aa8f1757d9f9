"""What members say of themselves is shown in an operator's terminal: it must not act there, nor pretend to be a row.

Weakness class: escape sequences of strangers.
"""

import io

from mesh.cli.output import Output

HOSTILE = "\x1b]0;title\x07\x1b[2J\x9b1m\u202eright to left\x7f"


def written(*rows: list[str], line: str = "", error: str = "") -> tuple[str, str]:
    out, complaints = io.BytesIO(), io.StringIO()
    output = Output(out, complaints)
    if rows:
        output.table(rows)
    if line:
        output.line(line)
    if error:
        output.error(error)
    return out.getvalue().decode(), complaints.getvalue()


def test_nothing_that_acts_on_a_terminal_is_written() -> None:
    for text in (*written(["Node", "Tags"], ["a", HOSTILE]), *written(line=HOSTILE, error=HOSTILE)):
        assert all(character.isprintable() or character == "\n" for character in text)
    assert written(line="\x1b[2J")[0] == "\\x1b[2J\n"


def test_a_cell_stays_in_its_row() -> None:
    shown, _ = written(["Node", "Tags"], ["a", "x=1\nb      alive\ty"])
    assert shown == "Node  Tags\na     x=1\\nb      alive\\ty\n"


def test_lines_of_ours_and_texts_of_people_are_left_alone() -> None:
    assert written(line="one\n\ttwo: ünïcödé 日本")[0] == "one\n\ttwo: ünïcödé 日本\n"
