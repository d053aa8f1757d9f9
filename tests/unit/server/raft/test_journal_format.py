"""Batches and segment headers, byte for byte: what is written is read back, and no sector of it is all zeros."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from base.errors import DataDamaged
from server.raft.journal_format import (
    SECTOR_BYTES,
    VOTE_BYTES_MAX,
    SegmentHeader,
    decode_batch_header,
    decode_payload,
    decode_segment_header,
    encode_batch,
    encode_segment_header,
    segment_name,
    segment_number,
)

NUMBERS = st.integers(0, 2**64 - 1)
RUNS = st.lists(st.tuples(st.sampled_from([0, 0, 1, 255]), st.integers(0, 2000)), max_size=8)


@given(runs=RUNS, sequence=NUMBERS, commit=NUMBERS, salt=NUMBERS)
def test_a_batch_is_read_back_and_has_no_zero_sector(
    runs: list[tuple[int, int]], sequence: int, commit: int, salt: int
) -> None:
    payload = b"".join(bytes([value]) * count for value, count in runs)
    batch = encode_batch(payload, sequence=sequence, commit_index=commit, records_count=3, salt=salt)
    assert len(batch) % SECTOR_BYTES == 0
    for offset in range(0, len(batch), SECTOR_BYTES):
        assert batch[offset : offset + SECTOR_BYTES].strip(b"\0")
    assert batch[-1] == 0xFF
    header = decode_batch_header(b"before" + batch, 6, salt)
    assert header is not None
    assert (header.sequence, header.commit_index, header.records_count) == (sequence, commit, 3)
    assert header.end == 6 + len(batch)
    assert decode_payload(b"before" + batch, 6, header, salt) == payload


@given(salt=NUMBERS, other=NUMBERS)
def test_a_batch_of_another_segment_is_none(salt: int, other: int) -> None:
    batch = encode_batch(b"payload", sequence=1, commit_index=1, records_count=1, salt=salt)
    if salt >> 32 != other >> 32:
        assert decode_batch_header(batch, 0, other) is None


@settings(max_examples=30)
@given(
    numbers=st.tuples(*[NUMBERS] * 7),
    vote=st.none() | st.text(min_size=1, max_size=60).filter(lambda text: len(text.encode()) <= VOTE_BYTES_MAX),
    position=st.integers(0, SECTOR_BYTES - 1),
    bit=st.integers(0, 7),
)
def test_a_segment_header_is_read_back_and_any_flipped_bit_in_it_is_seen(
    numbers: tuple[int, ...], vote: str | None, position: int, bit: int
) -> None:
    number, sequence, salt, base_index, base_term, commit, term = numbers
    header = SegmentHeader(
        number=number,
        sequence_first=sequence,
        salt=salt,
        base_index=base_index,
        base_term=base_term,
        commit_index=commit,
        term=term,
        vote=vote,
    )
    sector = encode_segment_header(header)
    assert len(sector) == SECTOR_BYTES
    assert decode_segment_header(sector, "here") == header
    flipped = bytearray(sector)
    flipped[position] ^= 1 << bit
    with pytest.raises(DataDamaged, match="here"):
        decode_segment_header(bytes(flipped), "here")


def test_segment_names_sort_as_their_numbers_and_other_names_are_none() -> None:
    numbers = [1, 9, 10, 10**19]
    assert sorted(segment_name(number) for number in numbers) == [segment_name(number) for number in numbers]
    assert [segment_number(segment_name(number)) for number in numbers] == numbers
    for name in ("log-1.seg", "log-0000000000000000000x.seg", segment_name(3) + ".tmp", "peers.info", "lock"):
        assert segment_number(name) is None
