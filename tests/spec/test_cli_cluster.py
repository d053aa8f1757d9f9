"""What the commands about members, events, keys, positions, servers and nodes print, and how they end."""

import json
from typing import Any

import pytest

from tests.fakes.http_agent import Asked, Script, Told, script_of
from tests.spec.test_cli import Terminal

REFUSED = script_of(Told(status=500, body=b"no", headers={"X-Mesh-Outcome": "refused"}))
SAID = "Unexpected response code: 500 (no)"


def told(value: Any, **more: Any) -> Told:
    return Told(body=json.dumps(value).encode(), **more)


def by_path(**answers: Any) -> Script:
    """Answer by the end of the path."""

    def script(asked: Asked) -> Told:
        path = asked.path.partition("?")[0]
        return next(told(value) for end, value in answers.items() if path.endswith(end))

    return script


# join, leave, force-leave


def test_join_counts_the_addresses_that_took_it_in() -> None:
    terminal = Terminal(script_of(Told())).type("join", "10.0.0.1", "[fd00::1]:8301")
    assert (terminal.code, terminal.out, terminal.err) == (
        0,
        b"Successfully joined cluster by contacting 2 nodes.\n",
        "",
    )
    assert [(asked.method, asked.path) for asked in terminal.asked] == [
        ("PUT", "/v1/agent/join/10.0.0.1"),
        ("PUT", "/v1/agent/join/%5Bfd00%3A%3A1%5D%3A8301"),
    ]
    assert Terminal(script_of(Told())).type("join", "-wan", "a").asked[0].path == "/v1/agent/join/a?wan=1"


def test_join_names_each_address_that_failed() -> None:
    some = script_of(Told(status=500, body=b"no"), Told())
    terminal = Terminal(some).type("join", "a", "b")
    assert (terminal.code, terminal.out) == (0, b"Successfully joined cluster by contacting 1 nodes.\n")
    assert terminal.err == f"Error joining address 'a': {SAID}\n"
    terminal = Terminal(REFUSED).type("join", "a", "b")
    assert (terminal.code, terminal.out) == (1, b"")
    assert terminal.err == (
        f"Error joining address 'a': {SAID}\nError joining address 'b': {SAID}\nFailed to join any nodes.\n"
    )
    terminal = Terminal().type("join")
    assert (terminal.code, terminal.err, terminal.asked) == (
        1,
        "At least one address to join must be specified.\n",
        [],
    )


def test_leave_says_when_it_is_done() -> None:
    terminal = Terminal(script_of(Told())).type("leave")
    assert (terminal.code, terminal.out, terminal.err) == (0, b"Graceful leave complete\n", "")
    assert (terminal.asked[0].method, terminal.asked[0].path) == ("PUT", "/v1/agent/leave")
    assert Terminal(REFUSED).type("leave").err == f"Error leaving: {SAID}\n"
    terminal = Terminal().type("leave", "now")
    assert (terminal.code, terminal.asked) == (1, [])


def test_force_leave_prints_nothing() -> None:
    terminal = Terminal(script_of(Told())).type("force-leave", "n1")
    assert (terminal.code, terminal.out, terminal.err) == (0, b"", "")
    assert terminal.asked[0].path == "/v1/agent/force-leave/n1"
    pruned = Terminal(script_of(Told())).type("force-leave", "-prune", "n1")
    assert pruned.asked[0].path == "/v1/agent/force-leave/n1?prune=1"
    assert Terminal(REFUSED).type("force-leave", "n1").err == f"Error force leaving: {SAID}\n"
    for words in ([], ["a", "b"]):
        terminal = Terminal().type("force-leave", *words)
        assert (terminal.code, terminal.asked) == (1, [])
        assert terminal.err == "A single node name must be specified to force leave.\n"


# event


def test_event_prints_the_id_of_what_was_fired() -> None:
    words = ["event", "-name=deploy", "-node=^n", "-service=web", "-tag=v1", "-datacenter=dc2", "v2 \udcff"]
    terminal = Terminal(script_of(told({"ID": "b2f2"}))).type(*words)
    assert (terminal.code, terminal.out, terminal.err) == (0, b"Event ID: b2f2\n", "")
    (asked,) = terminal.asked
    assert (asked.method, asked.body) == ("PUT", b"v2 \xff")
    assert asked.path == "/v1/event/fire/deploy?dc=dc2&node=%5En&service=web&tag=v1"


@pytest.mark.parametrize(
    ("words", "text"),
    [
        ([], "Event name must be specified"),
        (["-name=a", "x", "y"], "Too many command line arguments."),
        (["-name=a", "-node=("], "Error compiling node filter regexp: error parsing regexp: missing closing ): `(`"),
    ],
)
def test_event_refuses_nonsense_before_asking_anybody(words: list[str], text: str) -> None:
    terminal = Terminal().type("event", *words)
    assert (terminal.code, terminal.out, terminal.err, terminal.asked) == (1, b"", text + "\n", [])


def test_event_that_could_not_be_fired_says_why() -> None:
    assert Terminal(REFUSED).type("event", "-name=a").err == f"Error firing event: {SAID}\n"


# rtt


def at(node: str, x_s: float, segment: str = "") -> dict[str, object]:
    vec = [x_s, *[0] * 7]
    return {"Node": node, "Segment": segment, "Coord": {"Vec": vec, "Error": 1, "Adjustment": 0, "Height": 0.00001}}


SELF = {"Config": {"NodeName": "n1", "Datacenter": "dc1"}}
LAN = by_path(nodes=[at("n1", 0), at("n2", 0.00059), at("n2", 5, "alpha"), at("n3", 1, "beta")], self=SELF)
WAN = by_path(
    datacenters=[
        {"Datacenter": "dc1", "AreaID": "wan", "Coordinates": [at("n1", 0)]},
        {"Datacenter": "dc2", "AreaID": "wan", "Coordinates": [at("n1", 0.1), at("a.b", 0.2)]},
    ],
    self=SELF,
)


def test_rtt_estimates_between_two_nodes_or_from_the_agents_own() -> None:
    terminal = Terminal(LAN).type("rtt", "n1", "n2")
    assert (terminal.code, terminal.err) == (0, "")
    assert terminal.out == b"Estimated n1 <-> n2 rtt: 0.610 ms (using LAN coordinates)\n"
    assert Terminal(LAN).type("rtt", "n2").out == b"Estimated n2 <-> n1 rtt: 0.610 ms (using LAN coordinates)\n"


def test_rtt_knows_servers_of_other_datacenters() -> None:
    terminal = Terminal(WAN).type("rtt", "-wan", "n1.dc2", "n1.dc1")
    assert terminal.out == b"Estimated n1.dc2 <-> n1.dc1 rtt: 100.020 ms (using WAN coordinates)\n"
    assert Terminal(WAN).type("rtt", "-wan", "a.b.dc2").out.startswith(b"Estimated a.b.dc2 <-> n1.dc1 rtt: 200.020 ms")


@pytest.mark.parametrize(
    ("script", "words", "text"),
    [
        (LAN, ["n1", "n9"], 'Could not find a coordinate for node "n9"'),
        (LAN, ["n8", "n9"], 'Could not find a coordinate for node "n8"'),
        (LAN, ["n1", "n3"], "The coordinates of n1 and n3 cannot be compared"),
        (WAN, ["-wan", "n1.dc3", "n1.dc1"], 'Could not find a coordinate for node "n1.dc3"'),
        (WAN, ["-wan", "n1", "n2"], "Node names must be specified as <node name>.<datacenter> with -wan"),
        (LAN, [], "One or two node names must be specified"),
        (LAN, ["a", "b", "c"], "One or two node names must be specified"),
        (REFUSED, ["n1", "n2"], f"Error getting coordinates: {SAID}"),
    ],
)
def test_rtt_says_what_is_missing(script: Script, words: list[str], text: str) -> None:
    terminal = Terminal(script).type("rtt", *words)
    assert (terminal.code, terminal.out, terminal.err) == (1, b"", text + "\n")


# keyring

KEYS = script_of(
    told(
        [
            {"WAN": True, "Datacenter": "dc1", "Segment": "", "Keys": {"pUq==": 3}, "NumNodes": 3},
            {
                "WAN": False,
                "Datacenter": "dc1",
                "Keys": {"z": 4, "pUq==": 5},
                "NumNodes": 5,
                "Messages": {"n1": "late"},
            },
        ]
    )
)


def test_keyring_lists_keys_pool_by_pool() -> None:
    terminal = Terminal(KEYS).type("keyring", "-list", "-relay-factor=2")
    assert (terminal.code, terminal.err) == (0, "")
    assert terminal.out.decode() == (
        "==> Gathering installed encryption keys...\n\nWAN:\n  pUq== [3/3]\n\n"
        "dc1 (LAN):\n  ===> n1: late\n  pUq== [5/5]\n  z [4/5]\n"
    )
    assert terminal.asked[0].path == "/v1/operator/keyring?relay-factor=2"


@pytest.mark.parametrize(
    ("flag", "method", "text"),
    [
        ("-install", "POST", "Installing new gossip encryption key..."),
        ("-use", "PUT", "Changing primary gossip encryption key..."),
        ("-remove", "DELETE", "Removing gossip encryption key..."),
    ],
)
def test_keyring_changes_keys(flag: str, method: str, text: str) -> None:
    terminal = Terminal(script_of(Told())).type("keyring", f"{flag}=pUq==")
    assert (terminal.code, terminal.out.decode(), terminal.err) == (0, f"==> {text}\n", "")
    assert (terminal.asked[0].method, terminal.asked[0].body) == (method, b'{"Key": "pUq=="}')
    terminal = Terminal(REFUSED).type("keyring", flag, "k")
    assert (terminal.code, terminal.err) == (1, f"error: {SAID}\n")


def test_keyring_does_exactly_one_thing() -> None:
    for words in (["-list", "-use=a"], ["-install=a", "-remove=b"]):
        terminal = Terminal().type("keyring", *words)
        assert (terminal.code, terminal.err, terminal.asked) == (1, "Only a single action is allowed\n", [])
    terminal = Terminal().type("keyring")
    assert (terminal.code, terminal.out, terminal.asked) == (1, b"", [])
    assert terminal.err.startswith("Usage: mesh keyring [options]")
    terminal = Terminal().type("keyring", "-list", "-relay-factor=6")
    assert terminal.err == "Error parsing relay factor: Relay factor must be in range: [0, 5]\n"


# operator autopilot

CONFIG = {
    "CleanupDeadServers": True,
    "LastContactThreshold": "200ms",
    "MaxTrailingLogs": 250,
    "ServerStabilizationTime": "10s",
    "RedundancyZoneTag": "",
    "DisableUpgradeMigration": False,
    "UpgradeVersionTag": 'a"b',
    "CreateIndex": 4,
    "ModifyIndex": 7,
}


def test_get_config_prints_names_and_values() -> None:
    terminal = Terminal(script_of(told(CONFIG))).type("operator", "autopilot", "get-config", "-stale")
    assert terminal.out.decode() == (
        "CleanupDeadServers = true\nLastContactThreshold = 200ms\nMaxTrailingLogs = 250\n"
        "ServerStabilizationTime = 10s\n"
        'RedundancyZoneTag = ""\nDisableUpgradeMigration = false\nUpgradeVersionTag = "a\\"b"\n'
    )
    assert terminal.asked[0].path == "/v1/operator/autopilot/configuration?stale="
    terminal = Terminal(REFUSED).type("operator", "autopilot", "get-config")
    assert (terminal.code, terminal.err) == (1, f"Error querying Autopilot configuration: {SAID}\n")


def test_set_config_changes_what_is_named_and_nothing_else() -> None:
    words = [
        "-cleanup-dead-servers=false",
        "-max-trailing-logs=9",
        "-server-stabilization-time=1m",
        "-upgrade-version-tag=",
    ]
    terminal = Terminal(script_of(told(CONFIG), told(True))).type("operator", "autopilot", "set-config", *words)
    assert (terminal.code, terminal.out, terminal.err) == (0, b"Configuration updated!\n", "")
    read, written = terminal.asked
    assert (read.method, written.method, written.path) == ("GET", "PUT", "/v1/operator/autopilot/configuration?cas=7")
    expected = {
        **CONFIG,
        "CleanupDeadServers": False,
        "MaxTrailingLogs": 9,
        "ServerStabilizationTime": "1m0s",
        "UpgradeVersionTag": "",
    }
    assert json.loads(written.body) == {key: expected[key] for key in expected if not key.endswith("Index")}


def test_set_config_that_came_too_late_or_makes_no_sense_says_so() -> None:
    command = ["operator", "autopilot", "set-config"]
    terminal = Terminal(script_of(told(CONFIG), told(False))).type(*command, "-max-trailing-logs=1")
    assert (terminal.code, terminal.out) == (1, b"")
    assert terminal.err == "Configuration could not be atomically updated, please try again\n"
    failed = script_of(told(CONFIG), Told(status=500, body=b"no", headers={"X-Mesh-Outcome": "refused"}))
    assert Terminal(failed).type(*command).err == f"Error setting Autopilot configuration: {SAID}\n"
    for flag in ("-last-contact-threshold=fast", "-server-stabilization-time=-1s"):
        terminal = Terminal().type(*command, flag)
        assert (terminal.code, terminal.asked, terminal.err[:7]) == (1, [], "Error! ")


def test_state_prints_each_server() -> None:
    server = {
        "ID": "f5c", "Name": "n1", "Address": "10.0.0.1:8300", "NodeStatus": "alive", "Version": "1.21.0",
        "LastContact": "0s", "LastTerm": 2, "LastIndex": 46, "Healthy": True, "StableSince": "2018-06-01T10:00:00Z",
        "Status": "leader", "Meta": {"k": "v"}, "NodeType": "voter",
    }  # fmt: skip
    joiner = {**server, "ID": "aaa", "Name": "n2", "Status": "non-voter", "LastContact": "1.5ms", "Meta": {}}
    answer = {
        "Healthy": True, "FailureTolerance": 1, "OptimisticFailureTolerance": 2, "Leader": "f5c", "Voters": ["f5c"],
        "Servers": {"f5c": server, "aaa": joiner},
    }  # fmt: skip
    terminal = Terminal(script_of(told(answer))).type("operator", "autopilot", "state")
    lines = terminal.out.decode().splitlines()
    assert lines[:7] == [
        "Healthy:                      true",
        "Failure Tolerance:            1",
        "Optimistic Failure Tolerance: 2",
        "Leader:                       f5c",
        "Voters:",
        "   f5c",
        "Servers:",
    ]
    assert lines[7:12] == [
        "   aaa",
        "      Name:            n2",
        "      Address:         10.0.0.1:8300",
        "      Version:         1.21.0",
        "      Status:          non-voter",
    ]
    assert lines[-2:] == ["      Meta", '         "k": "v"']
    assert "      Last Contact:    1.5ms" in lines
    assert Terminal(REFUSED).type("operator", "autopilot", "state").err == f"Error querying Autopilot state: {SAID}\n"


# catalog


def test_datacenters_are_one_a_line() -> None:
    terminal = Terminal(script_of(told(["dc1", "dc2"]))).type("catalog", "datacenters")
    assert (terminal.code, terminal.out) == (0, b"dc1\ndc2\n")
    assert Terminal(REFUSED).type("catalog", "datacenters").err == f"Error listing datacenters: {SAID}\n"


NODES = [
    {
        "ID": "40e4a748-2192-161a-0510-9bf59fe950b5", "Node": "n1", "Address": "10.0.0.1", "Datacenter": "dc1",
        "TaggedAddresses": {"wan": "b", "lan": "a"}, "Meta": {"k": "v"}, "CreateIndex": 1, "ModifyIndex": 2,
    },
    {"ID": "", "Node": "node-2", "Address": "fd00::2", "Datacenter": "dc1", "TaggedAddresses": None, "Meta": None},
]  # fmt: skip


def test_nodes_are_a_table() -> None:
    script = script_of(told(NODES))
    assert Terminal(script).type("catalog", "nodes").out.decode() == (
        "Node    ID        Address   DC\nn1      40e4a748  10.0.0.1  dc1\nnode-2            fd00::2   dc1\n"
    )
    terminal = Terminal(script).type("catalog", "nodes", "-detailed")
    assert terminal.out.decode().splitlines() == [
        "Node    ID                                    Address   DC   TaggedAddresses  Meta",
        "n1      40e4a748-2192-161a-0510-9bf59fe950b5  10.0.0.1  dc1  lan=a, wan=b     k=v",
        "node-2                                        fd00::2   dc1                   ",
    ]


def test_nodes_can_be_chosen_and_sorted() -> None:
    words = ["-near=_agent", "-node-meta=a=b=c", "-node-meta", "d=", "-stale", "-datacenter=dc2"]
    terminal = Terminal(script_of(told([]))).type("catalog", "nodes", *words)
    assert (terminal.code, terminal.err) == (0, "")
    assert terminal.out == b"No nodes match the given query - try expanding your search.\n"
    assert terminal.asked[0].path == ("/v1/catalog/nodes?dc=dc2&stale=&near=_agent&node-meta=a%3Ab%3Dc&node-meta=d%3A")
    terminal = Terminal().type("catalog", "nodes", "-node-meta=a")
    assert (terminal.code, terminal.err, terminal.asked) == (1, 'Error! Missing "=" value in argument: a\n', [])
    assert Terminal(REFUSED).type("catalog", "nodes").err == f"Error listing nodes: {SAID}\n"
