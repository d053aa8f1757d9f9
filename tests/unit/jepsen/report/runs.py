"""Made-up runs that look like real ones: a cluster under faults, with a leader, latencies and errors that follow."""

import random
from typing import Any

import msgspec

from jepsen.checkers.verdict import Anomaly, Verdict
from jepsen.history import Begin, End, FaultWindow, History, Observation, Operation, Outcome

NS = 1_000_000_000
PLAN = (
    ("partition-leader", "partition", "{} is cut off from all others", "214 packets dropped", True),
    ("kill-minority", "kill", "kill -9 of {}", "pid 4711 is gone", False),
    ("pause-leader", "pause", "SIGSTOP of {}", "state T for 5.1 s", True),
    ("clock-jump", "clock", "wall clock of {} jumps by -3600 s", "server's Date header 3600 s off", False),
    ("slow-disk", "disk", "each sync of {} takes 800 ms more", "41 syncs delayed", True),
    ("membership-replace", "membership", "{} leaves, server-9 joins", "3 voters, one new", False),
)
ERRORS = ("500 No cluster leader", "connection refused", "no answer within 5 s", "503 rpc error: connection closed")


class Story:
    """Who leads when and which nodes suffer, from which everything else follows."""

    def __init__(self, seed: int, seconds: float, nodes: int, faults: bool) -> None:
        self.rng = random.Random(seed)
        self.seconds = seconds
        self.nodes = [f"server-{number}" for number in range(1, nodes + 1)]
        self.leaders: list[tuple[float, str, int]] = [(0.3, self.nodes[0], 1)]
        self.windows: list[FaultWindow] = []
        at_s, term = 4.0, 1
        while faults and at_s + 9 < seconds - 6:
            name, package, what, evidence, moves = PLAN[len(self.windows) % len(PLAN)]
            hold_s = self.rng.uniform(3, 8)
            leader = self.leaders[-1][1]
            victim = leader if moves else self.rng.choice([node for node in self.nodes if node != leader])
            counts = package != "clock" or self.rng.random() < 0.6
            self.windows.append(
                FaultWindow(
                    name=name,
                    package=package,
                    what=what.format(victim) if counts else "not counted, the clock library could not be built",
                    nodes=[victim],
                    evidence=evidence if counts else "",
                    began_ns=int(at_s * NS),
                    ended_ns=int((at_s + hold_s) * NS),
                    recovery_ns=int(4.0 * NS),
                )
            )
            if moves:
                term += self.rng.choice([1, 1, 2])
                successor = self.rng.choice([node for node in self.nodes if node != victim])
                self.leaders.append((at_s + self.rng.uniform(0.8, 2.4), successor, term))
            at_s += hold_s + self.rng.uniform(2.5, 5)

    def leader(self, at_s: float) -> tuple[str, int]:
        found = [(node, term) for since_s, node, term in self.leaders if since_s <= at_s]
        return found[-1] if found else ("", 0)

    def fault(self, at_s: float) -> FaultWindow | None:
        return next((each for each in self.windows if each.began_ns <= at_s * NS < each.ended_ns), None)

    def electing(self, at_s: float) -> bool:
        """Whether the old leader is gone and the new one not there yet."""
        window = self.fault(at_s)
        if window is None or window.package not in ("partition", "pause", "disk"):
            return False
        return any(window.began_ns / NS <= at_s < since_s <= window.ended_ns / NS for since_s, _, _ in self.leaders)


def operation(story: Story, workload: str, process: int, at_s: float, number: int) -> Operation:
    """One call, as it would end at that moment."""
    rng = story.rng
    node = story.nodes[process % len(story.nodes)]
    function = rng.choice(["read", "read", "write", "cas"])
    latency_s = rng.lognormvariate(-5.6 if function == "read" else -4.9, 0.55)
    outcome, error = Outcome.OK, ""
    window = story.fault(at_s)
    hurt = window is not None and bool(window.evidence) and node in window.nodes and window.package != "clock"
    if (hurt and rng.random() < 0.85) or (story.electing(at_s) and rng.random() < 0.6):
        if function != "read" and rng.random() < 0.35:
            outcome, error, latency_s = Outcome.UNKNOWN, ERRORS[2], 5.0
        else:
            outcome, error = Outcome.FAILED, rng.choice(ERRORS)
            latency_s *= rng.choice([1, 1, 40])
    elif window is not None and window.package == "disk":
        latency_s += rng.uniform(0.2, 0.9)
    elif function == "cas" and rng.random() < 0.15:
        outcome = Outcome.FAILED
    value: Any = {"read": None, "write": number, "cas": [number - 3, number]}[function]
    return Operation(
        workload=workload,
        process=process,
        function=function,
        key=f"k{rng.randrange(4)}",
        input=value,
        output=number - 1 if function == "read" and outcome is Outcome.OK else None,
        outcome=outcome,
        error=error,
        mode=rng.choice(["default", "consistent"]) if function == "read" else "",
        node=node,
        index=number + 10,
        began_ns=int(at_s * NS),
        ended_ns=int((at_s + latency_s) * NS),
    )


def observations(story: Story) -> list[Observation]:
    """Twice a second, each node of itself."""
    found = []
    for half in range(int(story.seconds * 2)):
        at_s = half / 2
        window = story.fault(at_s)
        for node in story.nodes:
            leader, term = story.leader(at_s)
            state = "leader" if node == leader else "follower"
            if window is not None and node in window.nodes and window.package in ("kill", "pause"):
                state = "down"
            elif story.electing(at_s):
                state = "candidate" if story.rng.random() < 0.5 else "follower"
            facts = {"state": state} if state == "down" else {"state": state, "term": term, "commit": half * 20}
            found.append(Observation(node=node, at_ns=int(at_s * NS), facts=facts))
    return found


def made_up(
    seed: int = 42,
    *,
    seconds: float = 60.0,
    operations: int = 6000,
    nodes: int = 3,
    workloads: tuple[str, ...] = ("register", "set"),
    faults: bool = True,
) -> History:
    """A whole run."""
    story = Story(seed, seconds, nodes, faults)
    free_s: dict[int, float] = {}
    found: list[Operation] = []
    workers = 6 * len(workloads)
    for number in range(operations):
        process = 1 + number % workers
        at_s = max(free_s.get(process, 0.0), number * (seconds - 2.0) / operations + story.rng.uniform(0, 0.02))
        if at_s > seconds:
            continue
        made = operation(story, workloads[process % len(workloads)], process, at_s, number)
        free_s[process] = made.ended_ns / NS + 1e-4
        found.append(made)
    for process, node in enumerate(story.nodes, start=workers + 1):
        read = operation(Story(seed, seconds, nodes, faults=False), workloads[0], process, seconds, operations)
        found.append(msgspec.structs.replace(read, node=node, phase="final"))
    found.sort(key=lambda each: each.ended_ns)
    at_ns = max(found[-1].ended_ns if found else 0, int(seconds * NS))
    return History(
        begin=Begin(
            seed=seed,
            command=f"python -m jepsen run --seed {seed} --workload {','.join(workloads)} --seconds {seconds:g}",
            version="0.1.0",
            started="2025-11-23T09:12:44+00:00",
            options={"workloads": list(workloads), "servers": nodes, "agents": 1, "seconds": seconds, "break": ""},
            machine={
                "network": "links",
                "missing": {"netem": "tc: RTNETLINK answers: No such file or directory"},
                "kernel": "6.1.0",
                "cores": "2",
            },
        ),
        operations=found,
        faults=story.windows,
        observations=observations(story),
        end=End(
            at_ns=at_ns,
            facts={
                "digests": {node: [operations + 17, "9f3c2ab17d"] for node in story.nodes},
                "leader": story.leader(seconds)[0],
                "healed": True,
                "trouble": [],
            },
        ),
    )


def good_verdicts(history: History) -> list[Verdict]:
    """All is well."""
    count = len(history.operations)
    return [
        Verdict(
            checker="linear",
            workload="register",
            valid=True,
            summary=f"{count} operations on 4 keys have a legal order",
            checked_count=count,
            took_s=1.91,
        ),
        Verdict(
            checker="set",
            workload="set",
            valid=True,
            summary="2,871 acknowledged, 2,871 found, 12 of unknown outcome found",
            checked_count=2883,
            took_s=0.02,
        ),
        Verdict(checker="replicas", valid=True, summary="3 digests agree at index 6017", checked_count=3),
        Verdict(checker="outcomes", valid=True, summary="no error outside fault windows", checked_count=count),
    ]


def call(process: int, function: str, began_ms: float, ended_ms: float, **more: Any) -> Operation:
    """One operation of a drawn anomaly; times in milliseconds after 17 s."""
    more.setdefault("outcome", Outcome.OK)
    return Operation(
        workload="register",
        process=process,
        function=function,
        key="k3",
        node=f"server-{1 + process % 3}",
        began_ns=int(17 * NS + began_ms * 1e6),
        ended_ns=int(17 * NS + ended_ms * 1e6),
        **more,
    )


def bad_verdicts(history: History) -> list[Verdict]:
    """A stale read, and a lost element far away from its reads."""
    story = [
        call(3, "write", 0.0, 6.1, input=481),
        call(7, "read", 2.0, 3.9, output=480, mode="default"),
        call(5, "cas", 4.2, 5004.2, input=[481, 492], outcome=Outcome.UNKNOWN, error=ERRORS[2]),
        call(1, "write", 9.0, 15.5, input=487),
        call(7, "read", 16.0, 18.0, output=487, mode="default"),
        call(7, "cas", 18.4, 21.0, input=[486, 490], outcome=Outcome.FAILED),
        call(9, "write", 19.0, 24.0, input=495, outcome=Outcome.FAILED, error=ERRORS[0]),
        call(11, "read", 25.2, 27.4, output=481, mode="consistent"),
    ]
    lost = [
        call(2, "add", -4000.0, -3993.0, input="element-00001234"),
        call(14, "read", 42000.0, 42011.0, output=["element-00001233", "element-00001235", "element-00001236"]),
        call(15, "read", 42001.0, 42013.0, output=["element-00001233", "element-00001235", "element-00001236"]),
    ]
    good = good_verdicts(history)
    return [
        Verdict(
            checker="linear",
            workload="register",
            valid=False,
            summary="no legal order for 1 of 4 keys",
            checked_count=good[0].checked_count,
            anomalies_count=1,
            anomalies=[
                Anomaly(
                    kind="not linearizable",
                    text="Process 11 read 481 from k3 although 487 had been written and read before it began.",
                    key="k3",
                    operations=story,
                )
            ],
            took_s=2.2,
        ),
        Verdict(
            checker="set",
            workload="set",
            valid=False,
            summary="1 of 2,871 acknowledged elements is lost",
            checked_count=2871,
            anomalies_count=23,
            anomalies=[
                Anomaly(
                    kind="lost",
                    text="element-00001234 was acknowledged and is in no final read.",
                    operations=lost,
                )
            ],
        ),
        Verdict(
            checker="replicas",
            valid=True,
            decided=False,
            summary="replicas did not meet at one index within 30 s",
            checked_count=3,
        ),
        good[3],
    ]
