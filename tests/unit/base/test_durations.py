"""Durations as Go writes and reads them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from base.durations import format_duration, parse_duration_s


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("0", 0.0),
        ("10s", 10.0),
        ("5m", 300.0),
        ("1500ms", 1.5),
        ("9.87364s", 9.87364),
        ("0.001s", 0.001),
        (".5h", 1800.0),
        ("1h2m3.5s", 3723.5),
        ("-5s", -5.0),
        ("+5s", 5.0),
        ("100us", 1e-4),
        ("100\u00b5s", 1e-4),
        ("100\u03bcs", 1e-4),
        ("15000000000ns", 15.0),
    ],
)
def test_go_durations_mean_seconds(text: str, seconds: float) -> None:
    assert parse_duration_s(text) == pytest.approx(seconds)


@pytest.mark.parametrize(
    "text", ["", "10", "s", "-", ".", ".s", "1.2.3s", "10 s", "10S", "1d", "\u0661s", "1e3s", "9999999h", "1s" * 100]
)
def test_what_go_refuses_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="time: invalid duration"):
        parse_duration_s(text)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0s"),
        (1e-9, "1ns"),
        (1.5e-6, "1.5\u00b5s"),
        (0.2, "200ms"),
        (10, "10s"),
        (60, "1m0s"),
        (3600.5, "1h0m0.5s"),
        (-1e-9, "-1ns"),
    ],
)
def test_durations_are_written_as_go_writes_them(seconds: float, text: str) -> None:
    assert format_duration(seconds) == text


@given(st.integers(-(10**15), 10**15))
def test_what_is_written_can_be_read(nanoseconds: int) -> None:
    assert parse_duration_s(format_duration(nanoseconds / 1e9)) == pytest.approx(nanoseconds / 1e9, abs=1e-9)
