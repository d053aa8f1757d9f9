"""What is kept is bounded in number and bytes, and the least recently used goes first."""

from hypothesis import given
from hypothesis import strategies as st

from base.keeping import Kept


def test_the_least_recently_used_goes_first() -> None:
    dropped: list[str] = []
    kept: Kept[str, str] = Kept(count_max=2, bytes_max=100, dropped=dropped.append)
    kept.put("a", "A", 1)
    kept.put("b", "B", 1)
    assert kept.get("a") == "A"
    kept.put("c", "C", 1)
    assert (kept.get("a"), kept.get("b"), kept.get("c")) == ("A", None, "C")
    assert dropped == ["B"]
    kept.clear()
    assert sorted(dropped) == ["A", "B", "C"]
    assert (len(kept), kept.bytes_total) == (0, 0)


def test_what_would_take_more_than_half_of_the_room_is_not_kept_and_its_forerunner_goes() -> None:
    kept: Kept[str, str] = Kept(count_max=9, bytes_max=100)
    kept.put("a", "A", 50)
    assert kept.get("a") == "A"
    kept.put("a", "larger", 51)
    assert kept.get("a") is None


@given(st.lists(st.tuples(st.integers(0, 5), st.integers(0, 60)), max_size=40))
def test_the_bounds_hold_whatever_comes(puts: list[tuple[int, int]]) -> None:
    kept: Kept[int, int] = Kept(count_max=3, bytes_max=100)
    sizes: dict[int, int] = {}
    for key, size in puts:
        kept.put(key, size, size)
        sizes[key] = size
        assert len(kept) <= 3
        assert kept.bytes_total <= 100
        assert kept.bytes_total == sum(sizes[key] for key in range(6) if kept.get(key) is not None)
