"""Keys of names: unambiguous, in order, and the same in every case."""

from hypothesis import given
from hypothesis import strategies as st

from fsm.store.names import key, lower, under

names = st.text(alphabet=st.sampled_from("aA\x00\x01\x02bé\U0001f600Σ"), max_size=6)


@given(names, names, names, names)
def test_two_pairs_of_names_have_one_key_only_if_they_are_equal(a: str, b: str, c: str, d: str) -> None:
    assert (key(a, b) == key(c, d)) == ((lower(a), lower(b)) == (lower(c), lower(d)))


@given(names, names, names)
def test_what_is_under_a_name_begins_so_and_nothing_else_does(a: str, b: str, c: str) -> None:
    assert key(a, b).startswith(under(c)) == (lower(a) == lower(c))


@given(names, names)
def test_keys_are_in_the_order_of_names(a: str, b: str) -> None:
    assert (key(a) < key(b)) == (lower(a) < lower(b))


def test_case_is_folded_character_by_character() -> None:
    assert lower("ΑΣ") == lower("ασ") == "ασ"
    assert lower("WEB-1") == "web-1"
    assert key("ÉA", "B") == "éa\x00b".encode()
