"""Long keys keep their order and leave nothing behind."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import lmdb
import pytest

from fsm.store import keys


@pytest.fixture
def table(tmp_path: Path) -> Iterator[tuple[Any, keys.Pair]]:
    environment = lmdb.open(str(tmp_path / "db"), subdir=False, max_dbs=2)
    pair = keys.Pair(environment.open_db(b"main"), environment.open_db(b"long"))
    with environment.begin(write=True) as txn:
        yield txn, pair
    environment.close()


def test_a_key_as_long_as_a_chunk_stays_in_the_main_database(table: tuple[Any, keys.Pair]) -> None:
    txn, pair = table
    keys.put(txn, pair, b"k" * keys.CHUNK_BYTES, b"row")
    assert txn.stat(pair.long)["entries"] == 0
    keys.put(txn, pair, b"k" * (keys.CHUNK_BYTES + 1), b"row")
    assert txn.stat(pair.long)["entries"] == 1


def test_deleting_the_last_long_key_removes_its_markers(table: tuple[Any, keys.Pair]) -> None:
    txn, pair = table
    long, longer = b"k" * 1_000, b"k" * 3_000
    keys.put(txn, pair, long, b"1")
    keys.put(txn, pair, longer, b"2")
    keys.delete(txn, pair, longer)
    assert list(keys.scan(txn, pair, b"")) == [(long, b"1")]
    keys.delete(txn, pair, long)
    assert txn.stat(pair.main)["entries"] == txn.stat(pair.long)["entries"] == 0


def test_the_longest_key_that_clients_may_use_fits(table: tuple[Any, keys.Pair]) -> None:
    txn, pair = table
    key = "ключ".encode() * 1_024
    assert len(key) == 8_192
    keys.put(txn, pair, key, b"row")
    assert keys.get(txn, pair, key) == b"row"
    assert keys.get(txn, pair, key[:-1]) is None
    assert keys.seek(txn, pair, key[:-1]) == (key, b"row")


def test_the_layout_depends_only_on_the_keys_that_exist(table: tuple[Any, keys.Pair]) -> None:
    txn, pair = table

    def content() -> list[Any]:
        return [list(txn.cursor(database).iternext(True, True)) for database in pair]

    first, second = b"a" * 2_000, b"a" * 600
    keys.put(txn, pair, first, b"")
    alone = content()
    keys.put(txn, pair, second, b"")
    keys.delete(txn, pair, second)
    assert content() == alone


def test_an_empty_key_does_not_exist(table: tuple[Any, keys.Pair]) -> None:
    txn, pair = table
    assert keys.get(txn, pair, b"") is None


@pytest.mark.parametrize(
    ("prefix", "expected"), [(b"a", b"b"), (b"a\xff", b"b"), (b"\xff\xff", None), (b"", None), (b"a\x00", b"a\x01")]
)
def test_the_successor_is_behind_everything_that_starts_with_the_prefix(prefix: bytes, expected: bytes | None) -> None:
    assert keys.successor(prefix) == expected
