"""Golden bytes of the RPC frames, version 1. A change here is a change of the wire: old peers would not understand."""

import pytest

from base.errors import NoLeader, OutcomeUnknown
from rpc.errors import error_to_body
from rpc.frame import (
    CANCEL,
    CREDIT,
    DATA,
    END,
    ERROR,
    FEATURES,
    LARGE,
    PART,
    PING,
    PONG,
    REPLY,
    REQUEST,
    STREAM,
    Frame,
    FrameReader,
    encode_frame,
)

GOLDEN = [
    ("request", Frame(seq=1, kind=REQUEST, method="KVS.Get", body=b"\x91\xa1a"),
     "00000010" "94" "01" "01" "a74b56532e476574" "c40391a161"),
    ("reply", Frame(seq=300, kind=REPLY, method="", body=b"ok"), "0000000a" "94" "cd012c" "02" "a0" "c4026f6b"),
    ("error", Frame(seq=3, kind=ERROR, method="", body=error_to_body(NoLeader())),
     "00000023" "94" "03" "03" "a0" "c41d" "93" "a84e6f4c6561646572" "b14e6f20636c7573746572206c6561646572" "c3"),
    ("unknown outcome", Frame(seq=3, kind=ERROR, method="", body=error_to_body(OutcomeUnknown("x"))),
     "00000019" "94" "03" "03" "a0" "c413" "93" "ae4f7574636f6d65556e6b6e6f776e" "a178" "c2"),
    ("cancel", Frame(seq=5, kind=CANCEL, method="", body=b""), "00000006" "94" "05" "04" "a0" "c400"),
    ("stream", Frame(seq=7, kind=STREAM, method="S", body=b""), "00000007" "94" "07" "05" "a153" "c400"),
    ("data", Frame(seq=7, kind=DATA, method="", body=b"x"), "00000007" "94" "07" "06" "a0" "c40178"),
    ("end", Frame(seq=7, kind=END, method="", body=b""), "00000006" "94" "07" "07" "a0" "c400"),
    ("credit", Frame(seq=7, kind=CREDIT, method="", body=b"\x00\x10\x00\x00"),
     "0000000a" "94" "07" "08" "a0" "c40400100000"),
    ("ping", Frame(seq=0, kind=PING, method="", body=b""), "00000006" "94" "00" "09" "a0" "c400"),
    ("pong", Frame(seq=0, kind=PONG, method="", body=b""), "00000006" "94" "00" "0a" "a0" "c400"),
    ("greeting", Frame(seq=0, kind=PING, method="", body=FEATURES), "00000007" "94" "00" "09" "a0" "c40101"),
    ("large reply", Frame(seq=9, kind=LARGE, method="", body=(5 << 20).to_bytes(8, "big")),
     "0000000e" "94" "09" "0b" "a0" "c4080000000000500000"),
    ("part", Frame(seq=9, kind=PART, method="", body=b"x"), "00000007" "94" "09" "0c" "a0" "c40178"),
]  # fmt: skip


@pytest.mark.parametrize(("name", "frame", "golden"), GOLDEN, ids=[row[0] for row in GOLDEN])
def test_frames_are_written_as_ever(name: str, frame: Frame, golden: str) -> None:
    out: list[bytes] = []
    encode_frame(frame.seq, frame.kind, frame.method, frame.body, out)
    assert b"".join(out).hex() == golden


@pytest.mark.parametrize(("name", "frame", "golden"), GOLDEN, ids=[row[0] for row in GOLDEN])
def test_frames_are_read_as_ever(name: str, frame: Frame, golden: str) -> None:
    reader = FrameReader()
    reader.feed(bytes.fromhex(golden))
    assert reader.next() == frame


def test_a_large_body_is_bin32() -> None:
    out: list[bytes] = []
    encode_frame(2, REPLY, "", bytes(65536), out)
    assert out[0].hex() == "00010009940202a0c600010000"
