"""Compressed bytes made code by code, for what no writer would write."""

CLEAR, END, FIRST = 256, 257, 258


def packed(codes: list[tuple[int, int]]) -> bytes:
    """Bytes of (code, width) pairs, written in the simplest way."""
    digits = "".join(format(code, f"0{width}b") for code, width in reversed(codes))
    return int(digits or "0", 2).to_bytes((len(digits) + 7) // 8, "little")


FULL = [
    *[(65, 9), *((FIRST + number, 9) for number in range(254))],
    *((512 + number, 10) for number in range(512)),
    *((1024 + number, 11) for number in range(1024)),
    *((2048 + number, 12) for number in range(2048)),
]
"""Codes until the table is full: each stands for what the one before did and one letter more."""


def bomb(bytes_count: int) -> bytes:
    """Compressed bytes that grow to at least so many, in about 6 KiB and 4 bytes for each 10 KB."""
    longest = len(FULL) - 1
    return packed([(CLEAR, 9), *FULL, *[(4095, 12)] * (bytes_count // longest + 1), (END, 12)])
