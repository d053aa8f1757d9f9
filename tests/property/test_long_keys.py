"""Tables with keys of any length against a sorted dict: order, prefixes, seeking, across the boundaries of chunks."""

import tempfile
from pathlib import Path
from typing import Any

import lmdb
from hypothesis import given, settings
from hypothesis import strategies as st

from fsm.store import keys

C = keys.CHUNK_BYTES
LENGTHS = st.one_of(st.integers(1, 3), st.sampled_from([C - 1, C, C + 1, 2 * C - 1, 2 * C, 2 * C + 1, 3 * C + 7]))
TAILS = st.binary(min_size=0, max_size=2)


@st.composite
def some_keys(draw: st.DrawFn) -> bytes:
    """Keys that share long beginnings and differ near the boundaries."""
    filler = draw(st.sampled_from([b"a", b"\x00", b"ab"]))
    length = draw(LENGTHS)
    return ((filler * length)[:length] + draw(TAILS))[: 4 * C]


def _expected_seek(model: dict[bytes, bytes], target: bytes) -> tuple[bytes, bytes] | None:
    behind = sorted(key for key in model if key >= target)
    return (behind[0], model[behind[0]]) if behind else None


@settings(max_examples=150)
@given(puts=st.lists(some_keys(), max_size=12), deletes=st.lists(st.integers(0, 11)), probes=st.lists(some_keys()))
def test_tables_of_long_keys_agree_with_a_sorted_dict(
    puts: list[bytes], deletes: list[int], probes: list[bytes]
) -> None:
    with tempfile.TemporaryDirectory() as folder:
        environment = lmdb.open(str(Path(folder) / "db"), subdir=False, max_dbs=2, sync=False)
        pair = keys.Pair(environment.open_db(b"main"), environment.open_db(b"long"))
        with environment.begin(write=True) as txn:
            model: dict[bytes, bytes] = {}
            for number, key in enumerate(puts):
                keys.put(txn, pair, key, b"%d" % number)
                model[key] = b"%d" % number
            for position in deletes:
                if position < len(puts) and puts[position] in model:
                    keys.delete(txn, pair, puts[position])
                    del model[puts[position]]
            _compare(txn, pair, model, [b"", *puts, *probes])
        environment.close()


def _compare(txn: Any, pair: keys.Pair, model: dict[bytes, bytes], probes: list[bytes]) -> None:
    for probe in probes:
        expected = sorted((key, row) for key, row in model.items() if key.startswith(probe))
        assert list(keys.scan(txn, pair, probe)) == expected
        assert keys.get(txn, pair, probe) == model.get(probe)
        assert keys.seek(txn, pair, probe) == _expected_seek(model, probe)
    long_keys = [key for key in model if len(key) > C]
    if not long_keys:
        assert txn.stat(pair.long)["entries"] == 0
        assert txn.stat(pair.main)["entries"] == len(model)
