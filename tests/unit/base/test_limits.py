"""Caps and rates."""

from hypothesis import given
from hypothesis import strategies as st

from base.limits import KeyedCap, TokenBucket


@given(st.lists(st.tuples(st.booleans(), st.sampled_from("abc")), max_size=60))
def test_a_cap_never_lets_in_more_than_it_says(moves: list[tuple[bool, str]]) -> None:
    cap = KeyedCap(per_key_max=3, total_max=5)
    inside: list[str] = []
    for enters, key in moves:
        if enters:
            allowed = inside.count(key) < 3 and len(inside) < 5
            assert cap.enter(key) == allowed
            if allowed:
                inside.append(key)
        elif key in inside:
            cap.leave(key)
            inside.remove(key)
        assert cap.count == len(inside)


def test_a_cap_that_shrinks_keeps_who_is_inside() -> None:
    cap = KeyedCap(per_key_max=3, total_max=3)
    assert cap.enter("a")
    assert cap.enter("a")
    cap.resize(per_key_max=1, total_max=3)
    assert not cap.enter("a")
    assert cap.enter("b")
    cap.leave("a")
    cap.leave("a")
    assert cap.enter("a")
    assert cap.refused_count == 1


def test_a_bucket_gives_its_burst_and_then_its_rate() -> None:
    bucket = TokenBucket(rate_per_s=2.0, burst=3.0, now_s=100.0)
    assert [bucket.take(100.0) for _ in range(4)] == [True, True, True, False]
    assert not bucket.take(100.4)
    assert bucket.take(100.5)
    assert not bucket.take(100.5)
    assert not bucket.take(90.0)  # a time that goes back fills nothing
    assert bucket.take(1000.0, 3.0)
    assert not bucket.take(1000.0)
