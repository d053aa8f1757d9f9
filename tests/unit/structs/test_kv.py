"""What the border refuses: texts, limits and kinds of errors. Source: modern deltas, section 7."""

import pytest

from base.errors import InvalidRequest, MeshError, TooLarge
from structs.kv import KEY_BYTES_MAX, VALUE_BYTES_MAX, KVCommand, KVVerb, check_write
from structs.txn import OPERATIONS_MAX, TxnOp, TxnRequest, check_operations

LARGE = bytes(VALUE_BYTES_MAX + 1)


@pytest.mark.parametrize(
    ("command", "kind", "text"),
    [
        (KVCommand(verb=KVVerb.SET, key=""), InvalidRequest, "Must provide key"),
        (
            KVCommand(verb=KVVerb.SET, key="k", value=LARGE),
            TooLarge,
            'Value for key "k" is too large (524289 > 524288 bytes)',
        ),
        (KVCommand(verb=KVVerb.SET, key="é" * 4_097), TooLarge, "Key is too large (8194 > 8192 bytes)"),
        (KVCommand(verb=KVVerb.GET, key="k"), InvalidRequest, 'unknown KV verb "get"'),
        (KVCommand(verb=KVVerb.SET, key="k", flags=1 << 64), InvalidRequest, "flags 18446744073709551616 are not"),
    ],
)
def test_a_write_that_can_never_succeed_is_refused(command: KVCommand, kind: type[MeshError], text: str) -> None:
    with pytest.raises(kind) as caught:
        check_write(command)
    assert str(caught.value).startswith(text)


def test_a_write_at_the_limits_is_accepted() -> None:
    check_write(KVCommand(verb=KVVerb.SET, key="k" * KEY_BYTES_MAX, value=LARGE[1:], flags=(1 << 64) - 1))
    check_write(KVCommand(verb=KVVerb.DELETE_TREE, key=""))


def test_the_limit_of_a_value_can_be_set() -> None:
    with pytest.raises(TooLarge, match=r'Value for key "k" is too large \(4 > 3 bytes\)'):
        check_write(KVCommand(verb=KVVerb.SET, key="k", value=b"1234"), value_bytes_max=3)


def test_a_transaction_has_at_most_128_operations() -> None:
    operations = [TxnOp(verb="get", key="k")] * OPERATIONS_MAX
    assert TxnRequest(operations=operations).complaint() is None
    request = TxnRequest(operations=[*operations, operations[0]])
    assert request.complaint() == "Transaction contains too many operations (129 > 128)"
    with pytest.raises(TooLarge):
        check_operations(request.operations, value_bytes_max=VALUE_BYTES_MAX)


def test_an_operation_of_a_transaction_may_not_be_too_large() -> None:
    with pytest.raises(TooLarge, match='Value for key "k" is too large'):
        check_operations([TxnOp(verb="set", key="k", value=LARGE)], value_bytes_max=VALUE_BYTES_MAX)


def test_what_is_an_error_of_an_operation_is_not_one_of_the_request() -> None:
    assert TxnRequest(operations=[TxnOp(verb="frobnicate", key=""), TxnOp(verb="set", key="")]).complaint() is None
