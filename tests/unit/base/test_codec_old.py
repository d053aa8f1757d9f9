"""The old form of msgpack: what is read, what is refused, and that little is built before it is refused."""

import tracemalloc
from contextlib import suppress

import pytest

from base.codec import OldReader, OldScanner, Truncated, pack_old, unpack_old
from base.errors import InvalidRequest, TooLarge

MIB = 1 << 20


def test_text_and_bytes_are_written_alike() -> None:
    assert pack_old({"a": b"x", "b": "y" * 300}) == b"\x82\xa1a\xa1x\xa1b\xda\x01\x2c" + b"y" * 300


def test_raw_stays_bytes_and_keys_become_text() -> None:
    assert unpack_old(b"\x81\xa1a\x91\x81\xa1b\xa1c") == {"a": [{"b": b"c"}]}


def test_keys_that_are_no_utf8_survive() -> None:
    assert unpack_old(b"\x81\xa1\xff\x01") == {"\udcff": 1}


def test_the_later_forms_of_text_and_bytes_are_taken() -> None:
    assert unpack_old(b"\x92\xd9\x01a\xc4\x01b") == [b"a", b"b"]


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(b"\xc1", id="no value"),
        pytest.param(b"\x81\x01\x01", id="number for a key"),
        pytest.param(b"\x81\x90\x01", id="list for a key"),
        pytest.param(b"\x81\xd6\xff\x00\x00\x00\x00\x01", id="time for a key"),
        pytest.param(b"\x91" * 5000, id="too deep"),
        pytest.param(b"\x81\xa0" * 5000, id="maps too deep"),
        pytest.param(b"\xdd\xff\xff\xff\xff", id="four billion items"),
        pytest.param(b"\xdf\xff\xff\xff\xff", id="four billion pairs"),
        pytest.param(b"\xc7\x03\xff\x00\x00\x00", id="no time"),
    ],
)
def test_what_is_wrong_is_an_invalid_request(data: bytes) -> None:
    with pytest.raises(InvalidRequest):
        OldReader(data).read()


def test_deep_but_not_too_deep_values_do_not_exhaust_the_interpreter() -> None:
    for depth in (100, 500, 1000):
        with suppress(InvalidRequest):
            assert OldReader(b"\x91" * depth + b"\x01").read()


def test_an_early_end_says_so() -> None:
    for data in (b"", b"\x82\xa1a\x01", b"\xda\x01\x00x", b"\xcd\x01"):
        with pytest.raises(Truncated):
            OldReader(data).read()


def test_values_are_read_one_after_the_other() -> None:
    reader = OldReader(b"\x01\xa1a\xc0rest")
    assert [reader.read(), reader.read_raw(10), reader.enter_list(0)] == [1, b"a", 0]
    assert bytes(reader.rest()) == b"rest"
    assert reader.position == 4


def test_a_value_is_measured_before_it_is_built() -> None:
    data = pack_old([[]] * 1000) * 2
    reader = OldReader(data)
    assert reader.read_within(1003) == [[]] * 1000
    with pytest.raises(TooLarge):
        reader.read_within(1002)


def test_only_raw_values_are_raw() -> None:
    for data in (b"\x90", b"\x80", b"\x01", b"\xc0"):
        with pytest.raises(InvalidRequest, match="raw bytes expected"):
            OldReader(data).read_raw(10)
    with pytest.raises(TooLarge):
        OldReader(b"\xa5hello").read_raw(5)


def test_containers_are_entered_within_a_bound() -> None:
    reader = OldReader(b"\x82\xa1a\x91\x05\xa1b\xc0")
    assert reader.enter_map(2) == 2
    assert reader.read() == b"a"
    assert reader.enter_list(1) == 1
    assert reader.read() == 5
    reader.skip()
    assert reader.enter_map(0) == 0
    with pytest.raises(TooLarge):
        OldReader(b"\xdf\xff\xff\xff\xff").enter_map(1000)
    with pytest.raises(InvalidRequest):
        OldReader(b"\x01").enter_list(1)


def test_nested_lists_that_announce_much_get_no_room() -> None:
    data = b"\xdd\x00\x01\x00\x00" * 900 + bytes(1 << 16)
    tracemalloc.start()
    try:
        with pytest.raises(InvalidRequest):
            OldReader(data, list_items_max=1024).read()
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < MIB


def test_a_scanner_goes_on_where_it_stopped() -> None:
    data = pack_old({"a": [1, {"b": b"x" * 400}], "c": 70_000}) + pack_old(5)
    scanner = OldScanner(len(data))
    ends = []
    for position in range(len(data)):
        scanner.feed(data[position : position + 1])
        if scanner.skip():
            ends.append(scanner.position)
    assert ends == [len(data) - 1, len(data)]


def test_a_scanner_takes_no_more_than_it_was_told() -> None:
    scanner = OldScanner(4)
    scanner.feed(b"\xa5abc")
    assert not scanner.skip()
    with pytest.raises(TooLarge):
        scanner.feed(b"de")


def test_a_scanner_refuses_what_is_no_value() -> None:
    for data in (b"\xc1", b"\x91" * 2000):
        scanner = OldScanner(len(data))
        scanner.feed(data)
        with pytest.raises(InvalidRequest):
            scanner.skip()
