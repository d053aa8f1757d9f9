"""Errors survive the wire, and definite only if both sides agree."""

import pytest

import base.errors
from base.codec import encode
from base.errors import (
    Internal,
    InvalidRequest,
    InvariantBroken,
    MeshError,
    NoLeader,
    OutcomeUnknown,
    PermissionDenied,
    Refused,
)
from rpc.errors import ERROR_TEXT_CHARACTERS_MAX, as_mesh_error, error_from_body, from_wire, to_wire

KINDS = [
    kind
    for kind in vars(base.errors).values()
    if isinstance(kind, type) and issubclass(kind, MeshError) and kind is not MeshError
]


@pytest.mark.parametrize("kind", KINDS)
def test_every_error_of_the_tree_comes_back_as_itself(kind: type[MeshError]) -> None:
    back = from_wire(to_wire(kind("some text")))
    assert type(back) is kind
    assert str(back) == "some text"
    assert back.definite == kind.definite


def test_an_error_that_the_sender_is_not_sure_of_is_not_definite_here() -> None:
    back = from_wire(["NoLeader", "x", False])
    assert type(back) is OutcomeUnknown


def test_an_error_that_is_never_definite_here_is_not_made_so_by_the_sender() -> None:
    back = from_wire(["OutcomeUnknown", "x", True])
    assert not back.definite


@pytest.mark.parametrize(("definite", "kind"), [(True, Refused), (False, OutcomeUnknown)])
def test_an_unknown_class_keeps_its_definite_bit(definite: bool, kind: type[MeshError]) -> None:
    assert type(from_wire(["FromTheFuture", "x", definite])) is kind


@pytest.mark.parametrize("name", ["InvariantBroken", "MeshError", "Exception", "__builtins__", ""])
def test_only_errors_of_the_tree_are_ever_built(name: str) -> None:
    assert type(from_wire([name, "x", True])) is Refused


def test_a_subclass_travels_as_its_base() -> None:
    class Elsewhere(PermissionDenied):
        pass

    assert type(from_wire(to_wire(Elsewhere("x")))) is PermissionDenied


def test_long_texts_are_cut() -> None:
    assert len(str(from_wire(to_wire(Internal("x" * 10**6))))) == ERROR_TEXT_CHARACTERS_MAX


@pytest.mark.parametrize(
    "body", [b"", b"\xc1", encode(["a"]), encode([1, "x", True]), encode(["a", "x", 1]), encode("x")]
)
def test_a_malformed_error_is_refused(body: bytes) -> None:
    with pytest.raises(InvalidRequest):
        error_from_body(body)


def test_defects_become_internal_without_their_details() -> None:
    error = as_mesh_error(ValueError("secret detail"), "KVS.Get")
    assert isinstance(error, Internal)
    assert "secret" not in str(error)
    known = NoLeader()
    assert as_mesh_error(known, "KVS.Get") is known


def test_a_broken_invariant_is_no_answer() -> None:
    with pytest.raises(InvariantBroken):
        as_mesh_error(InvariantBroken("corrupt"), "KVS.Get")
