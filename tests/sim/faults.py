"""What each fault of a schedule does. Whatever it has to draw comes from the step's own generator."""

import random
from collections.abc import Callable

from tests.sim.disk_faults import POINTS, Part
from tests.sim.plan import FAULTS, Step
from tests.sim.process import POWER_FAILS, SimServer
from tests.sim.room import STARTING_OPERATIONS_COUNT, Room
from tests.sim.world import Network

Act = Callable[[Room, random.Random, SimServer], str | None]
"""Strikes; returns what happened, or None where nothing could. Those in LATER only begin to lie in wait."""

PARTS: tuple[Part, ...] = ("journal", "snapshots")
RETRY_S = 0.3
RETRIES = 10
"""What can't be done yet, for want of a leader or of an intact majority, is tried again for three seconds."""
SYNCS_LATER_MAX = 4
"""A snapshot has three, of two files and a folder."""
PASSED_ALL_THE_TIME = (
    "driver.",
    "journal.before_write",
    "journal.after_write",
    "journal.before_sync",
    "journal.after_sync",
)


def _again_and_again(room: Room, attempt: Callable[[], bool]) -> None:
    """Try now, and for a while, until it comes off or everything heals."""

    def once(retries_left: int) -> None:
        if not attempt() and retries_left and room.is_breaking:
            room.world.after(RETRY_S, lambda: once(retries_left - 1))

    once(RETRIES)


def act(room: Room, step: Step, position: int) -> None:
    """Let one step happen, count it, and tell it."""
    rng = random.Random(step.seed)
    happened = ACTS[step.fault](room, rng, room.aimed_at(step, rng))
    if step.fault not in LATER:
        room.checker.counts[f"fault {step.fault}" if happened else f"missed {step.fault}"] += 1
    room.tell(f"[{position}] {step.fault}: {happened or 'there is nothing to hit'}")


# --- processes


def _crash(room: Room, rng: random.Random, server: SimServer) -> str | None:
    return room.restart_later(server, rng) if server.is_up else None


def _crash_all(room: Room, rng: random.Random, server: SimServer) -> str | None:
    return "; ".join(room.restart_later(each, rng) for each in room.servers.values() if each.is_up) or None


def _power(room: Room, rng: random.Random, server: SimServer) -> str | None:
    """Half of the room loses power at once."""
    half = [each for each in room.servers.values() if rng.random() < 0.5]
    return "; ".join(room.restart_later(each, rng, power=True) for each in half if each.is_up) or None


def _pause(room: Room, rng: random.Random, server: SimServer) -> str | None:
    duration_s = rng.uniform(0.2, 4.0)
    server.pause(duration_s)
    return f"{server.server_id} stands still for {duration_s:.2f} s"


def _slow_disk(room: Room, rng: random.Random, server: SimServer) -> str | None:
    server.sync_factor = rng.choice((20.0, 100.0))
    duration_s = rng.uniform(0.5, 3.0)
    room.world.after(duration_s, lambda: setattr(server, "sync_factor", 1.0))
    return f"{server.server_id} syncs {server.sync_factor:g} times slower for {duration_s:.2f} s"


def _full_disk(room: Room, rng: random.Random, server: SimServer) -> str | None:
    room_bytes, duration_s = rng.choice((0, 100, 2_000, 20_000)), rng.uniform(0.5, 4.0)
    server.faults.fill(room_bytes, duration_s, struck=room.strikes_later("full disk"))
    return f"{server.server_id} has {room_bytes} bytes left for {duration_s:.2f} s"


def _failing_sync(room: Room, rng: random.Random, server: SimServer) -> str | None:
    part: Part = rng.choice(PARTS)
    passing = rng.randint(1, SYNCS_LATER_MAX)
    server.faults.fail_sync(part, passing, struck=room.strikes_later("failing sync"))
    return f"the next sync in the {part} of {server.server_id} will fail ({passing})"


def _bit_flip(room: Room, rng: random.Random, server: SimServer) -> str | None:
    """As soon as the group can do without this server. In a journal only the next start notices: often one soon."""
    part: Part = rng.choice(PARTS)
    restarts, delay_s = rng.random() < 0.7, rng.uniform(0.0, 2.0)
    struck = room.strikes_later("bit flip")

    def strike() -> bool:
        if not server.flip_bit(part, rng):
            return False
        struck()
        room.tell(f"a bit in the {part} of {server.server_id} is damaged")
        if restarts:
            room.world.after(delay_s, lambda: _blink(room, server))
        return True

    _again_and_again(room, strike)
    return f"a bit in the {part} of {server.server_id} is to be damaged"


def _power_at_point(room: Room, rng: random.Random, server: SimServer) -> str | None:
    name = rng.choice(POINTS)
    passing = rng.randint(1, 20 if name.startswith(PASSED_ALL_THE_TIME) else 3)
    power = rng.random() < POWER_FAILS
    server.faults.crash_at_point(name, passing, power=power, struck=room.strikes_later("power at point"))
    return f"{server.server_id} will {'lose power' if power else 'be killed'} when it passes {name} ({passing})"


def _power_at_operation(room: Room, rng: random.Random, server: SimServer) -> str | None:
    """At a server that runs: somewhere in what it does next. At one that is down: while it starts."""
    number = rng.randrange(40 if server.is_up else STARTING_OPERATIONS_COUNT)
    power = rng.random() < POWER_FAILS
    server.faults.crash_at_operation(number, power=power, struck=room.strikes_later("power at operation"))
    return f"{server.server_id} will {'lose power' if power else 'be killed'} after {number} operations of its disk"


# --- links


def _sides(room: Room, rng: random.Random) -> tuple[list[str], list[str]]:
    names = sorted(server.server_id for server in room.alive())
    side = sorted(rng.sample(names, rng.randrange(1, len(names))))
    return side, [name for name in names if name not in side]


def _partition(room: Room, rng: random.Random, server: SimServer) -> str | None:
    side, rest = _sides(room, rng)
    duration_s = rng.uniform(0.3, 4.0)
    room.network.cut({Network.pair(first, second) for first in side for second in rest})
    room.heal_later(duration_s)
    return f"{', '.join(side)} apart from {', '.join(rest)} for {duration_s:.2f} s"


def _isolate(room: Room, rng: random.Random, server: SimServer) -> str | None:
    duration_s = rng.uniform(0.5, 4.0)
    room.network.cut({Network.pair(server.server_id, other) for other in room.others(server)})
    room.heal_later(duration_s)
    return f"{server.server_id} alone for {duration_s:.2f} s"


def _bridge(room: Room, rng: random.Random, server: SimServer) -> str | None:
    """One server loses some of the others, who still reach each other: who is heard differs from who could be.

    Then, while somebody may be about to campaign, a voter forgets its promise or a leader hears nobody any more.
    """
    others = room.others(server)
    lost = sorted(rng.sample(others, rng.randrange(1, len(others)))) if len(others) > 1 else others
    heals_s, blow_s, deaf_s = rng.uniform(1.0, 3.0), rng.uniform(0.5, 1.3), rng.uniform(0.3, 2.0)
    forgetful = room.servers[rng.choice(others)] if rng.random() < 0.5 else None
    deaf = rng.random() < 0.7
    room.network.cut({Network.pair(server.server_id, other) for other in lost})
    room.heal_later(heals_s)

    def second_blow() -> None:
        if forgetful is not None and forgetful.is_up:
            _blink(room, forgetful)
        if deaf:
            _deafen(room, server, deaf_s)

    room.world.after(blow_s, second_blow)
    return f"{server.server_id} without {', '.join(lost)} for {heals_s:.2f} s"


def _one_way(room: Room, rng: random.Random, server: SimServer) -> str | None:
    side, rest = _sides(room, rng)
    pairs = [Network.pair(first, second) for first in side for second in rest]
    directions = [pair if rng.random() < 0.5 else pair[::-1] for pair in sorted(pairs)]
    if rng.random() < 0.5:
        directions = [(server.server_id, other) for other in room.others(server)]
    room.network.stall(set(directions))
    breaks_s = rng.uniform(0.2, 2.0) if rng.random() < 0.5 else None
    if breaks_s is not None:
        room.world.after(breaks_s, room.network.break_stalled)
    heals_s = rng.uniform(0.3, 4.0)
    room.heal_later(heals_s)
    broken = "" if breaks_s is None else f", given up after {breaks_s:.2f} s"
    return f"silent for {heals_s:.2f} s{broken}: {_named(directions)}"


def _directions(room: Room, rng: random.Random, server: SimServer) -> list[tuple[str, str]]:
    """Those to one server, those from it, or both."""
    others = room.others(server)
    towards, away = [(other, server.server_id) for other in others], [(server.server_id, other) for other in others]
    return rng.choice((towards, away, towards + away))


def _named(directions: list[tuple[str, str]]) -> str:
    return ", ".join(f"{sender} to {receiver}" for sender, receiver in sorted(directions))


def _slow_link(room: Room, rng: random.Random, server: SimServer) -> str | None:
    directions = _directions(room, rng, server)
    factor, duration_s = rng.choice((5.0, 30.0)), rng.uniform(0.5, 4.0)
    room.network.slow(set(directions), factor)
    room.heal_later(duration_s)
    return f"{factor:g} times slower for {duration_s:.2f} s: {_named(directions)}"


def _loss(room: Room, rng: random.Random, server: SimServer) -> str | None:
    directions = _directions(room, rng, server)
    return f"lost: {_named(directions)}" if room.network.drop(set(directions)) else None


def _flap(room: Room, rng: random.Random, server: SimServer) -> str | None:
    times_s = sorted(rng.uniform(0.0, 2.0) for _ in range(rng.randrange(2, 8)))
    for time_s in times_s:
        room.world.after(time_s, lambda: room.network.break_all(server.server_id))
    return f"the links of {server.server_id} break {len(times_s)} times in {times_s[-1]:.2f} s"


def _blink(room: Room, server: SimServer) -> None:
    """A process dies and is back at once: everything that it had only promised is forgotten."""
    server.stop(power=False)
    room.tell(f"{server.server_id} is killed, back at once")
    room.world.after(0.02, lambda: room.start(server))


def _deafen(room: Room, server: SimServer, duration_s: float) -> None:
    """The others still hear this server, and it hears nobody."""
    room.network.stall({(other, server.server_id) for other in room.others(server)})
    room.tell(f"{server.server_id} hears nobody for {duration_s:.2f} s")
    room.heal_later(duration_s)


# --- what operators do


def _transfer(room: Room, rng: random.Random, server: SimServer) -> str | None:
    """As soon as somebody leads."""
    deaf, delay_s, deaf_s = rng.random() < 0.5, rng.uniform(0.0, 0.06), rng.uniform(0.3, 2.0)
    struck = room.strikes_later("transfer")

    def strike() -> bool:
        leading = room.leaders()
        for leader in leading:
            struck()
            leader.transfer()
            room.tell(f"{leader.server_id} is to hand over")
            if deaf:
                room.world.after(delay_s, lambda leader=leader: _deafen(room, leader, deaf_s))  # type: ignore[misc]
        return bool(leading)

    _again_and_again(room, strike)
    return "the leader is to hand over"


def _change(room: Room, rng: random.Random, server: SimServer) -> str | None:
    """Whoever leads, as soon as somebody does, is asked to add a member or to remove one, never itself."""
    struck = room.strikes_later("change")

    def strike() -> bool:
        leading = room.leaders()
        for leader in leading:
            if _ask_for_a_change(room, rng, leader):
                struck()
        return bool(leading)

    _again_and_again(room, strike)
    return "a member is to be added or removed"


def _ask_for_a_change(room: Room, rng: random.Random, leader: SimServer) -> bool:
    assert leader.core is not None
    members = {peer.server_id for peer in leader.core.configuration()}
    outside = [peer for peer in room.peers if peer.server_id not in members]
    inside = [peer for peer in room.peers if peer.server_id in members and peer != leader.peer]
    add = len(members) < room.plan.members_min or rng.random() < 0.5
    if outside and add:
        peer = rng.choice(outside)
        leader.change("add", peer)
    elif inside:
        peer = rng.choice(inside)
        leader.change("rem", peer)
    else:
        return False
    room.tell(f"{leader.server_id} is to {'add' if outside and add else 'remove'} {peer.server_id}")
    return True


ACTS: dict[str, Act] = {
    "crash": _crash,
    "crash all": _crash_all,
    "power": _power,
    "partition": _partition,
    "bridge": _bridge,
    "one way": _one_way,
    "flap": _flap,
    "pause": _pause,
    "slow link": _slow_link,
    "loss": _loss,
    "slow disk": _slow_disk,
    "full disk": _full_disk,
    "failing sync": _failing_sync,
    "bit flip": _bit_flip,
    "power at point": _power_at_point,
    "power at operation": _power_at_operation,
    "transfer": _transfer,
    "isolate": _isolate,
    "change": _change,
}
assert ACTS.keys() == FAULTS.keys()
LATER = {
    "full disk",
    "failing sync",
    "bit flip",
    "power at point",
    "power at operation",
    "transfer",
    "change",
}
"""These count themselves when they strike, which may be later or never."""
