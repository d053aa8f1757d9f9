"""From results to what is told: thresholds against a reference, output limits."""

from hypothesis import given
from hypothesis import strategies as st

from agent.checks.interface import CheckSettings, Result
from agent.checks.output import Tail, cut_note, output_bytes_max, timed_out_text
from agent.checks.status import StatusRule
from structs.check_spec import CheckSpec

STATUSES = ("passing", "warning", "critical")


def spec(**more: int) -> CheckSpec:
    return CheckSpec(check_id="c", name="c", tcp="127.0.0.1:1", interval_s=1.0, **more)  # type: ignore[arg-type]


def expected(history: list[str], passing: int, warning: int, critical: int) -> str | None:
    """What is told after the last of `history`, from the definition and without any counter."""
    failed = history[-1] == "critical"
    in_a_row = 0
    while in_a_row < len(history) and (history[-1 - in_a_row] == "critical") == failed:
        in_a_row += 1
    if not failed:
        return history[-1] if in_a_row >= passing else None
    if in_a_row >= critical:
        return "critical"
    return "warning" if in_a_row >= (warning or critical) else None


@given(
    st.lists(st.sampled_from(STATUSES), min_size=1, max_size=30),
    st.integers(0, 5),
    st.integers(0, 5),
    st.integers(0, 5),
)
def test_thresholds_against_their_definition(history: list[str], passing: int, warning: int, critical: int) -> None:
    rule = StatusRule(
        spec(success_before_passing=passing, failures_before_warning=warning, failures_before_critical=critical)
    )
    for count, status in enumerate(history, start=1):
        told = rule.take(Result(status, "out"))
        assert (told.status if told else None) == expected(history[:count], passing, warning, critical)
        assert told is None or told.output == "out"


def test_without_thresholds_every_result_is_told() -> None:
    rule = StatusRule(spec())
    for status in ("critical", "passing", "warning", "critical"):
        assert rule.take(Result(status, "")) == Result(status, "")


@given(st.lists(st.binary(max_size=40)), st.integers(1, 30))
def test_the_tail_is_the_end_of_everything(pieces: list[bytes], bytes_max: int) -> None:
    tail = Tail(bytes_max)
    for piece in pieces:
        tail.feed(piece)
        assert len(tail._kept) <= 2 * bytes_max
    whole = b"".join(pieces)
    assert tail.count == len(whole)
    kept = whole[-bytes_max:]
    if len(whole) > bytes_max:
        while kept and 0x80 <= kept[0] < 0xC0:
            kept = kept[1:]
    assert tail.text() == kept.decode("utf-8", "replace")


def test_texts_clients_know() -> None:
    tail = Tail(4)
    assert timed_out_text(30.0, tail) == "Timed out (30s) running check"
    tail.feed(b"0123456789")
    assert tail.program_text() == "Captured 4 of 10 bytes\n...\n6789"
    assert timed_out_text(90.0, tail).startswith("Timed out (1m30s) running check\n\nCaptured 4 of 10 bytes")
    assert cut_note("abcdef", 4) == "abcd ... (captured 4 of 6 bytes)"
    assert cut_note("abcd", 4) == "abcd"


def test_a_character_that_would_be_cut_in_two_is_left_out() -> None:
    assert cut_note("aäää", 4) == "aä ... (captured 4 of 7 bytes)"
    tail = Tail(3)
    tail.feed("ääb".encode())
    assert tail.text() == "äb"


def test_a_check_may_lower_its_limit_and_never_raise_it() -> None:
    settings = CheckSettings(node_name="n", output_bytes_max=100)
    assert output_bytes_max(spec(), settings) == 100
    assert output_bytes_max(spec(output_bytes_max=10), settings) == 10
    assert output_bytes_max(spec(output_bytes_max=1000), settings) == 100
