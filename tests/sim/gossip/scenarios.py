"""What can be played: each scenario builds a crowd from a plan, lets something happen to it, and returns figures."""

import time
from collections.abc import Callable
from contextlib import nullcontext
from typing import Any, Final

import msgspec

from gossip.instructions import JoinWanted
from tests.sim.gossip.crowd import Crowd
from tests.sim.gossip.ledger import SHARES, spread
from tests.sim.gossip.scale import Scale
from tests.sim.gossip.sharing import shared_decoding
from tests.sim.gossip_world import SimMember

SETTLE_S: Final = 10.0
"""Before anything happens: the announcements of the start are out, and everybody is somewhere in its probes."""
DETECTED_WITHIN_S: Final = 180.0
AGREED_WITHIN_S: Final = 900.0
DEATHS_SHARE: Final = 0.1
DEATHS_COUNT_MAX: Final = 100
SLOW_SHARE: Final = 0.05
JOINS_COUNT_MAX: Final = 20
JOIN_PAUSE_S: Final = 5.0
MASS_JOIN_S: Final = 10.0
SAMPLE_COUNT: Final = 10
"""So many are looked at before all are."""
CUT_S: Final = 60.0
BAD_LOSS: Final = 0.5
BAD_LOSS_S: Final = 30.0


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """What a run is made from; the same plan gives the same figures, but for times of the processor."""

    scenario: str
    nodes: int = 100
    seed: int = 0
    minutes: float = 1.0
    lifeguard: bool = True
    loss: float = 0.0


def play(plan: Plan) -> dict[str, Any]:
    """Return the figures of one run, what was simulated, and the processor's time for it."""
    began_s = time.process_time()
    # What is shared costs nothing, so not where the cost is to be seen.
    with nullcontext() if plan.scenario == "idle" else shared_decoding():
        crowd, figures = SCENARIOS[plan.scenario](plan)
    return {
        **figures,
        "simulated seconds": round(crowd.now_s - crowd.born_s, 1),
        "events": crowd.events_count,
        "cpu seconds": round(time.process_time() - began_s, 1),
    }


def death(plan: Plan) -> tuple[Crowd, dict[str, Any]]:
    """Members die at random times: of few one, of more a tenth, of thousands a hundred."""
    crowd = _settled(plan)
    _let_die(crowd, _deaths_count(plan.nodes * DEATHS_SHARE), plan.minutes * 60)
    return crowd, {**_detected(crowd), **_mistakes(crowd, crowd.now_s - crowd.born_s)}


def lossy(plan: Plan) -> tuple[Crowd, dict[str, Any]]:
    """Every link loses datagrams; nobody dies."""
    crowd = _settled(plan)
    crowd.run(plan.minutes * 60)
    return crowd, _mistakes(crowd, crowd.now_s - crowd.born_s)


def starved(plan: Plan) -> tuple[Crowd, dict[str, Any]]:
    """Some members stand still half of the time, a few seconds each time; a few healthy ones die meanwhile."""
    return _with_slow_members(plan, deaf=False)


def deaf(plan: Plan) -> tuple[Crowd, dict[str, Any]]:
    """Some members keep their timers but hear everything seconds late; a few healthy ones die meanwhile."""
    return _with_slow_members(plan, deaf=True)


def _with_slow_members(plan: Plan, *, deaf: bool) -> tuple[Crowd, dict[str, Any]]:
    crowd = _settled(plan, slow_share=SLOW_SHARE, deaf=deaf)
    _let_die(crowd, _deaths_count(plan.nodes * DEATHS_SHARE / 5), plan.minutes * 60)
    crowd.run_to(max(crowd.now_s, crowd.born_s + SETTLE_S + plan.minutes * 60))
    return crowd, {**_detected(crowd), **_mistakes(crowd, crowd.now_s - crowd.born_s)}


def idle(plan: Plan) -> tuple[Crowd, dict[str, Any]]:
    """Nothing happens: what is sent as it stands on the wire, and what the machine takes of the processor."""
    crowd = _settled(plan)
    scale = Scale()
    with scale.under(crowd.living()):
        crowd.run(plan.minutes * 60)
    return crowd, scale.figures(plan.nodes * plan.minutes * 60)


def join(plan: Plan) -> tuple[Crowd, dict[str, Any]]:
    """One after the other, newcomers join a running cluster through anybody."""
    crowd = _settled(plan)
    knowing: list[float | None] = []
    known: dict[float, list[float | None]] = {share: [] for share in SHARES}
    for number in range(min(JOINS_COUNT_MAX, max(1, round(plan.minutes * 60 / JOIN_PAUSE_S)))):
        through = crowd.chance.choice(crowd.living())
        began_s = crowd.now_s
        newcomer = crowd.enter(f"newcomer-{number}")
        others_count = len(crowd.members) - 1
        arrivals = crowd.ledger.joined[newcomer.name] = {}
        crowd.want(newcomer, JoinWanted, addresses=[through.address])
        waited_s = crowd.seconds_until(lambda who=newcomer: crowd.knows_all(who), within_s=AGREED_WITHIN_S)  # type: ignore[misc]
        knowing.append(waited_s)
        crowd.run(JOIN_PAUSE_S)
        crowd.seconds_until(lambda: len(arrivals) >= others_count, within_s=AGREED_WITHIN_S)  # noqa: B023  used at once
        times_s = sorted(at_s - began_s for name, at_s in arrivals.items() if name != newcomer.name)
        for share, rows in known.items():
            wanted_count = max(1, -int(-share * others_count // 1))
            rows.append(times_s[wanted_count - 1] if len(times_s) >= wanted_count else None)
    figures = {f"known by {share * 100:g} %": spread(rows) for share, rows in known.items()}
    return crowd, {"knows all": spread(knowing), **figures, "disagreements": len(crowd.disagreements())}


def mass_join(plan: Plan) -> tuple[Crowd, dict[str, Any]]:
    """All start within ten seconds, and each joins through the same one."""
    crowd = Crowd(seed=plan.seed, nodes_count=plan.nodes, lifeguard=plan.lifeguard, loss=plan.loss, formed=False)
    first, *others = crowd.members.values()
    crowd.start(first)

    def start(member: SimMember) -> None:
        crowd.start(member)
        crowd.want(member, JoinWanted, addresses=[first.address])

    for member in others:
        crowd.plan(crowd.now_s + crowd.chance.random() * MASS_JOIN_S, lambda who=member: start(who))  # type: ignore[misc]
    crowd.run(MASS_JOIN_S)
    found: dict[str, Any] = {}
    for share in SHARES:
        wanted_count = share * plan.nodes
        took_s = crowd.seconds_until(
            lambda least=wanted_count: sum(map(crowd.knows_all, others)) >= least - 1,  # type: ignore[misc]
            within_s=AGREED_WITHIN_S,
        )
        found[f"{share * 100:g} % know all after s"] = None if took_s is None else round(crowd.now_s - crowd.born_s, 1)
    return crowd, {**found, **_mistakes(crowd, crowd.now_s - crowd.born_s)}


def partition(plan: Plan) -> tuple[Crowd, dict[str, Any]]:
    """Two halves hear nothing of each other for a minute."""
    crowd = _settled(plan)
    half = set(list(crowd.members)[: plan.nodes // 2])
    crowd.cut = lambda sender, receiver: (sender.name in half) is not (receiver.name in half)
    crowd.run(CUT_S)
    wrong_count = crowd.ledger.wrong_count
    crowd.cut = None
    return crowd, {"wrong when it heals": wrong_count, **_healed(crowd)}


def loss50(plan: Plan) -> tuple[Crowd, dict[str, Any]]:
    """Every link loses half of all datagrams for half a minute."""
    crowd = _settled(plan)
    crowd.links.loss = BAD_LOSS
    crowd.run(BAD_LOSS_S)
    wrong_count = crowd.ledger.wrong_count
    crowd.links.loss = plan.loss
    return crowd, {"wrong when it heals": wrong_count, **_healed(crowd)}


SCENARIOS: Final[dict[str, Callable[[Plan], tuple[Crowd, dict[str, Any]]]]] = {
    "death": death,
    "lossy": lossy,
    "starved": starved,
    "deaf": deaf,
    "idle": idle,
    "join": join,
    "mass-join": mass_join,
    "partition": partition,
    "loss50": loss50,
}


# What they have in common


def _settled(plan: Plan, *, slow_share: float = 0.0, deaf: bool = False) -> Crowd:
    crowd = Crowd(
        seed=plan.seed,
        nodes_count=plan.nodes,
        lifeguard=plan.lifeguard,
        loss=plan.loss,
        slow_share=slow_share,
        deaf=deaf,
    )
    crowd.run(SETTLE_S)
    return crowd


def _deaths_count(wanted_count: float) -> int:
    return min(DEATHS_COUNT_MAX, max(1, round(wanted_count)))


def _let_die(crowd: Crowd, count: int, seconds: float) -> None:
    """Kill so many in this time, and wait until everybody healthy knows."""
    ends_s = crowd.now_s + seconds
    for _ in range(count):
        crowd.plan(crowd.now_s + crowd.chance.random() * seconds, crowd.kill_one)

    def everybody_knows() -> bool:
        healthy = [member.name for member in crowd.healthy()]
        deaths = crowd.ledger.deaths.values()
        return len(deaths) == count and all(each.known_by(1.0, healthy) is not None for each in deaths)

    while crowd.now_s < ends_s and len(crowd.ledger.deaths) < count:
        crowd.run(min(1.0, ends_s - crowd.now_s))
    crowd.seconds_until(everybody_knows, within_s=DETECTED_WITHIN_S)


def _detected(crowd: Crowd) -> dict[str, Any]:
    return crowd.ledger.detection([member.name for member in crowd.healthy()])


def _mistakes(crowd: Crowd, seconds: float) -> dict[str, Any]:
    return crowd.ledger.mistakes(len(crowd.members), seconds)


def _healed(crowd: Crowd) -> dict[str, Any]:
    """Return when nobody alive was taken for failed any more, when all records were right, and what was left."""
    incidents_count = len(crowd.ledger.incidents)
    alive_s = crowd.seconds_until(lambda: not crowd.ledger.wrong_count, within_s=AGREED_WITHIN_S)
    some = crowd.chance.sample(crowd.living(), min(len(crowd.members), SAMPLE_COUNT))
    right_s = crowd.seconds_until(
        lambda: not crowd.disagreements(some) and not crowd.disagreements(), within_s=AGREED_WITHIN_S
    )
    left = crowd.disagreements()
    return {
        "false deaths until it healed": incidents_count,
        "false deaths afterwards": len(crowd.ledger.incidents) - incidents_count,
        "all alive for all after s": None if alive_s is None else round(alive_s, 1),
        "all records right after s": None if alive_s is None or right_s is None else round(alive_s + right_s, 1),
        "disagreements left": len(left),
    }
