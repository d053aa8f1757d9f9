"""peers.json: read strictly, taken over durably, exactly once."""

import contextlib
import json
import random
from pathlib import PurePosixPath

import pytest

from base.disk import write_atomically
from base.errors import ConfigInvalid, DataDamaged
from server.raft.recovery import OVERRIDE_NAME, Recovery, read_peers_json, recover
from structs.cluster import Peer
from tests.fakes.disk import PowerLost, SimDisk

FOLDER = PurePosixPath("/raft")
ID_A = "adf4238a-882b-9ddc-4a9d-5b6758e4159e"
ID_B = "8b6dda82-3103-11e7-93ae-92361f002671"
PEERS = [
    Peer(server_id=ID_A, name=ID_A, address="10.1.0.1:8300"),
    Peer(server_id=ID_B, name="second", address="[::1]:8300"),
]
TEXT = json.dumps(
    [
        {"id": ID_A.upper(), "address": "10.1.0.1:8300", "non_voter": False},
        {"id": ID_B, "address": "[::1]:8300", "name": "second"},
    ]
)


def started(seed: int = 0) -> SimDisk:
    disk = SimDisk(random.Random(seed))
    disk.make_folder(FOLDER)
    assert recover(disk, FOLDER, log_last_index=1) == Recovery(override=None, notes=[])
    return disk


def test_peers_are_read() -> None:
    assert read_peers_json(TEXT) == PEERS


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("", "not valid JSON"),
        ("[" * 100_000, "not valid JSON"),
        ("{}", "at least one server"),
        ("[]", "at least one server"),
        ('["10.0.0.1:8300"]', "server 1: an object"),
        ("[{}]", "server 1: id: None is not a UUID"),
        (json.dumps([{"id": "a", "address": "h:1"}]), "server 1: id: 'a' is not a UUID"),
        (json.dumps([{"id": ID_A.replace("-", ""), "address": "h:1"}]), "is not a UUID"),
        (json.dumps([{"id": 7, "address": "h:1"}]), "server 1: id: 7 is not a UUID"),
        (json.dumps([{"id": ID_A}]), "server 1: address: None is not host:port"),
        (json.dumps([{"id": ID_A, "address": "h"}]), "is not host:port"),
        (json.dumps([{"id": ID_A, "address": ":8300"}]), "is not host:port"),
        (json.dumps([{"id": ID_A, "address": "h:0"}]), "is not host:port"),
        (json.dumps([{"id": ID_A, "address": "h:65536"}]), "is not host:port"),
        (json.dumps([{"id": ID_A, "address": "::1:8300"}]), "is not host:port"),
        (json.dumps([{"id": ID_A, "address": "h h:8300"}]), "is not host:port"),
        (json.dumps([{"id": ID_A, "address": "h:1", "vote": 1}]), "unknown field 'vote'"),
        (json.dumps([{"id": ID_A, "address": "h:1", "non_voter": True}]), "servers without a vote"),
        (json.dumps([{"id": ID_A, "address": "h:1", "non_voter": 0}]), "servers without a vote"),
        (json.dumps([{"id": ID_A, "address": "h:1", "name": 1}]), "name must be a text"),
        (f'[{{"id": "{ID_A}", "id": "{ID_B}", "address": "h:1"}}]', "appears twice in one object"),
        (json.dumps([{"id": ID_A, "address": "h:1"}, {"id": ID_A, "address": "h:2"}]), "server 2: id .* twice"),
        (
            json.dumps([{"id": ID_A, "address": "h:1"}, {"id": ID_B, "address": "h:1"}]),
            "server 2: address h:1 .* twice",
        ),
        (json.dumps([{"id": ID_A, "address": "h:1"}] * 65), "65 servers are more than 64"),
    ],
)
def test_what_cannot_be_used_is_refused_naming_its_place(text: str, complaint: str) -> None:
    with pytest.raises(ConfigInvalid, match=r"^peers\.json.*" + complaint):
        read_peers_json(text)


def test_at_the_first_start_a_peers_file_of_an_earlier_life_is_removed() -> None:
    disk = SimDisk(random.Random(0))
    disk.make_folder(FOLDER)
    write_atomically(disk, FOLDER / "peers.json", TEXT.encode())
    found = recover(disk, FOLDER, log_last_index=1)
    assert found.override is None
    assert "first start" in found.notes[0]
    assert disk.list(FOLDER) == ["peers.info"]
    assert b"peers.json" in disk.read(FOLDER / "peers.info")


def test_later_a_peers_file_becomes_an_override_that_stays() -> None:
    disk = started()
    write_atomically(disk, FOLDER / "peers.json", TEXT.encode())
    found = recover(disk, FOLDER, log_last_index=77)
    assert found.override is not None
    assert (found.override.after_index, found.override.peers) == (77, PEERS)
    assert ID_A in found.notes[0]
    assert "peers.json" not in disk.list(FOLDER)
    disk.crash()
    assert recover(disk, FOLDER, log_last_index=99) == Recovery(override=found.override, notes=[])


def test_a_peers_file_that_cannot_be_used_stays_and_nothing_changes() -> None:
    disk = started()
    for content in (b"[]", b"\xff\xfe"):
        write_atomically(disk, FOLDER / "peers.json", content)
        with pytest.raises(ConfigInvalid, match=r"^/raft/peers\.json"):
            recover(disk, FOLDER, log_last_index=77)
        assert disk.list(FOLDER) == ["peers.info", "peers.json"]


def test_a_crash_anywhere_leaves_the_file_to_be_read_again_or_the_override() -> None:
    for at in range(12):
        disk = started(at)
        write_atomically(disk, FOLDER / "peers.json", TEXT.encode())
        disk.operations_count = 0
        disk.power_lost_at = at
        with contextlib.suppress(PowerLost):
            recover(disk, FOLDER, log_last_index=77)
        disk.crash()
        found = recover(disk, FOLDER, log_last_index=77)
        assert found.override is not None
        assert (found.override.after_index, found.override.peers) == (77, PEERS)


def test_a_damaged_override_is_told_and_replaced_by_a_new_peers_file() -> None:
    disk = started()
    write_atomically(disk, FOLDER / OVERRIDE_NAME, b'{"after_index": 1}')
    with pytest.raises(DataDamaged, match=r"write peers\.json again"):
        recover(disk, FOLDER, log_last_index=77)
    write_atomically(disk, FOLDER / "peers.json", TEXT.encode())
    assert recover(disk, FOLDER, log_last_index=78).override is not None
