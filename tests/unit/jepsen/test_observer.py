"""What a node says of itself, as facts."""

from jepsen.observer import facts_of


def test_a_server_s_facts_are_numbers_and_its_role() -> None:
    raft = {"state": "Leader", "term": "3", "commit_index": "17", "applied_index": "16", "last_log_index": "18"}
    assert facts_of({"Stats": {"raft": raft}}) == {
        "state": "leader",
        "term": 3,
        "commit": 17,
        "applied": 16,
        "last": 18,
        "snapshot": 0,
    }


def test_an_agent_without_raft_is_a_client() -> None:
    assert facts_of({"Stats": {"agent": {}}}) == {"state": "client"}
    assert facts_of({}) == {"state": "client"}
    assert facts_of({"Config": {"NodeID": "a-b"}}) == {"state": "client", "id": "a-b"}
