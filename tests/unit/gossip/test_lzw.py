"""Compression: the same bytes back, in bounded time and memory, whoever wrote them."""

import random

import pytest

from base.errors import InvalidRequest, TooLarge
from gossip import lzw
from tests.fakes.lzw_codes import CLEAR, END, FIRST, FULL, packed

CODES_PER_CLEAR = 3838
MIB = 1 << 20


def unpacked(data: bytes) -> list[tuple[int, int]]:
    """(code, width) pairs of compressed bytes up to the end, read in the simplest way."""
    codes: list[tuple[int, int]] = []
    number, width, high = int.from_bytes(data, "little"), 9, END
    while not codes or codes[-1][0] != END:
        code = number & ((1 << width) - 1)
        number >>= width
        codes.append((code, width))
        width, high = (9, END) if code == CLEAR else (width, high + 1)
        if high == 1 << width and width < 12:
            width += 1
    return codes


def fixed_seed_texts() -> list[bytes]:
    chance = random.Random(20_181_017)
    sizes = [1, 2, 3, 255, 256, 257, 1400, 3837, 3838, 3839, 7675, 7676, 7677, 30_000]
    return [
        text
        for size in sizes
        for text in (
            chance.randbytes(size),
            bytes(size),
            bytes(chance.choices(b"abcd", k=size)),
            (b'{"role":"node","dc":"dc1"}' * (size // 26 + 1))[:size],
        )
    ]


@pytest.mark.parametrize("text", fixed_seed_texts(), ids=lambda text: str(len(text)))
def test_what_is_compressed_comes_back(text: bytes) -> None:
    assert lzw.decompress(lzw.compress(text), len(text)) == text


def test_codes_grow_when_the_table_does_and_the_writer_starts_anew_in_time() -> None:
    """Random bytes give one code each, for a while, so the places are known."""
    codes = unpacked(lzw.compress(random.Random(1).randbytes(12_000)))
    assert codes[0] == (CLEAR, 9)
    clears = [position for position, (code, _) in enumerate(codes) if code == CLEAR]
    assert clears[1] - clears[0] == CODES_PER_CLEAR + 1
    assert codes[clears[1]][1] == 12
    widths = [width for _, width in codes[1 : clears[1] + 1]]
    assert [widths.count(width) for width in (9, 10, 11, 12)] == [255, 512, 1024, 2048]
    assert codes[clears[1] + 1][1] == 9


@pytest.mark.parametrize("size", range(CODES_PER_CLEAR - 2, CODES_PER_CLEAR + 3))
def test_the_end_may_come_right_after_a_clear(size: int) -> None:
    """No pair of bytes comes twice, so that each byte is a code and the last ones meet the full table."""
    text = b"".join(bytes((high, low)) for high in range(256) for low in range(high))[:size]
    assert lzw.decompress(lzw.compress(text), size) == text


def test_a_full_table_goes_on_being_used() -> None:
    """Foreign readers do so; our writer and theirs clear one code earlier."""
    data = packed([(CLEAR, 9), *FULL, (4095, 12), (66, 12), (4095, 12), (END, 12)])
    plain = lzw.decompress(data, 8 * MIB)
    expanded = [size + 1 for size in range(len(FULL))]
    assert len(plain) == sum(expanded) + 2 * 3839 + 1


def test_a_clear_may_come_at_any_time() -> None:
    codes = [(CLEAR, 9), (CLEAR, 9), (65, 9), (66, 9), (FIRST, 9), (CLEAR, 9), (67, 9), (FIRST, 9), (END, 9)]
    assert lzw.decompress(packed(codes), 100) == b"ABAB" + b"CCC"
    codes = [*FULL[:300], (CLEAR, 10), (67, 9), (68, 9), (FIRST, 9), (END, 9)]
    assert lzw.decompress(packed(codes), MIB).endswith(b"CDCD")


def test_the_first_clear_may_be_missing() -> None:
    assert lzw.decompress(packed([(65, 9), (END, 9)]), 10) == b"A"


def test_what_follows_the_end_is_ignored() -> None:
    assert lzw.decompress(lzw.compress(b"abc") + b"\xff" * 100, 10) == b"abc"


@pytest.mark.parametrize(
    "codes",
    [
        pytest.param([(CLEAR, 9), (FIRST, 9), (END, 9)], id="a string before any"),
        pytest.param([(CLEAR, 9), (65, 9), (FIRST + 1, 9), (END, 9)], id="a string not learned yet"),
        pytest.param([(CLEAR, 9), (65, 9), (66, 9), (511, 9)], id="far beyond"),
        pytest.param([(CLEAR, 9), (65, 9), (66, 9), (CLEAR, 9), (FIRST, 9)], id="a string of before the clear"),
        pytest.param([(CLEAR, 9), (65, 9)], id="no end"),
        pytest.param([], id="nothing"),
    ],
)
def test_impossible_codes_are_refused(codes: list[tuple[int, int]]) -> None:
    with pytest.raises(InvalidRequest):
        lzw.decompress(packed(codes), 1000)


def test_a_bomb_is_stopped_at_the_bound() -> None:
    bomb = packed([(CLEAR, 9), *FULL, *[(4095, 12)] * 100_000])
    with pytest.raises(TooLarge):
        lzw.decompress(bomb, MIB)
    zeros = lzw.compress(bytes(MIB))
    assert len(zeros) < 3000
    with pytest.raises(TooLarge):
        lzw.decompress(zeros, MIB - 1)
    assert lzw.decompress(zeros, MIB) == bytes(MIB)


@pytest.mark.parametrize(
    "codes",
    [
        pytest.param([(CLEAR, 9)] * 30_000, id="clears"),
        pytest.param([(CLEAR, 9), (65, 9)] * 15_000, id="clears and letters"),
        pytest.param([*FULL[:255], (CLEAR, 10)] * 120, id="clears as soon as codes have grown"),
    ],
)
def test_a_row_of_clears_costs_no_more_than_a_row_of_letters(
    codes: list[tuple[int, int]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Counted in blocks that are taken apart, which is what costs: three for each 256 codes at most."""
    taken: list[int] = []
    unpack = lzw._unpack

    def counted(number: int, width: int) -> tuple[int, ...]:
        taken.append(width)
        return unpack(number, width)

    monkeypatch.setattr(lzw, "_unpack", counted)
    with pytest.raises(InvalidRequest, match="too early"):
        lzw.decompress(packed(codes), 8 * MIB)
    assert len(taken) <= len(codes) / 256 * 3 + 2
