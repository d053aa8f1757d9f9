"""Names and tags of strangers that are no text: on an open network one such packet ended each server that came to lead.

Weakness class: bytes that pass as text until somebody has to write them down.
"""

from pathlib import Path

import pytest
import trio
import trio.testing

from agent.gossip import member_of
from agent.http.agent import member_json
from base import codec
from base.errors import InvalidRequest
from fsm.store import nodes
from gossip.instructions import QueryResult
from gossip.key_queries import summary
from gossip.messages import Alive, Dead, Suspect, decode, encode
from gossip.push_pull import NodeState, PushPull, decode_push_pull, encode_push_pull
from gossip.roster import tags_of
from gossip.serf_messages import KeyResponse
from gossip.serf_messages import encode as encode_serf
from structs.cluster import LeaderReply
from structs.json_codec import encode_json
from tests.fakes.lower_layer import UpperWorld
from tests.fakes.members import client
from tests.fakes.server_parts import server_parts
from tests.fakes.swim_group import Group

NOT_UTF8 = "bad\udcff"
"""What the byte 255 becomes when it is read."""
NAMES = [NOT_UTF8, "two\nlines", "bell\x07", "nul\x00", "\u202eright to left", "\u00e9" * 128]


@pytest.mark.parametrize("name", NAMES)
def test_a_member_whose_name_is_no_printable_text_does_not_come_in(name: str) -> None:
    group = Group(2)
    group.join_all()
    group.deliver("a", encode(Alive(incarnation=1, node=name, host="10.0.0.7", port=8301, meta=b"\xff\x80")))
    group.run(5.0)
    assert sorted(group["a"].swim.nodes) == sorted(group["b"].swim.nodes) == ["a", "b"]


@pytest.mark.parametrize("name", NAMES)
def test_no_message_carries_such_a_name(name: str) -> None:
    for message in (Suspect(incarnation=1, node=name, sender="b"), Dead(incarnation=1, node="b", sender=name)):
        with pytest.raises(InvalidRequest):
            decode(encode(message))
    table = PushPull(nodes=[NodeState(name=name, host="10.0.0.7"), NodeState(name="b", host="10.0.0.2")])
    assert [each.name for each in decode_push_pull(encode_push_pull(table)).nodes] == ["b"]


@pytest.mark.parametrize("name", ["web 1", "wéb", "ノード", "a" * 255])
def test_names_that_people_give_come_in(name: str) -> None:
    message = Alive(incarnation=1, node=name, host="10.0.0.7", port=8301)
    assert decode(encode(message)) == message


def test_tags_that_are_no_text_can_still_be_shown_and_stored() -> None:
    world = UpperWorld()
    node = world.join("x", {"k\udcfe": NOT_UTF8, "dc": "dc1"})
    assert tags_of(node.meta) == {"k\ufffd": "bad\ufffd", "dc": "dc1"}
    (member,) = [member_of(each) for each in world.serf.roster.members() if each.name == "x"]
    assert b"bad\xef\xbf\xbd" in encode_json(member_json(member))
    assert codec.encode(member)


def test_what_members_answer_to_a_key_operation_can_be_shown() -> None:
    payload = encode_serf(KeyResponse(result=True, message=NOT_UTF8, keys=[NOT_UTF8]))
    result = summary(QueryResult(acks=[], answers={"x": payload}), 1)
    assert result.messages == {"x": "bad\ufffd"}
    assert result.keys == {"bad\ufffd": 1}


def test_a_record_that_cannot_be_written_is_an_error_of_ours() -> None:
    with pytest.raises(InvalidRequest):
        codec.encode(LeaderReply(address=NOT_UTF8))


async def test_one_member_that_cannot_be_written_does_not_keep_the_leader_from_the_others(
    tmp_path: Path, autojump_clock: trio.testing.MockClock
) -> None:
    async with server_parts(tmp_path) as parts, trio.open_nursery() as nursery:
        for name in (NOT_UTF8, "c5"):
            parts.gossip.network.show(client(name))
        await nursery.start(parts.duties.leadership.run)
        await trio.sleep(2.0)
        with parts.machine.read() as view:
            assert nodes.get(view, "c5") is not None
        assert parts.duties.leadership.established
        nursery.cancel_scope.cancel()
