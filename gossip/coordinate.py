"""Sans-IO: where we are in the network, learnt from round trips (Vivaldi).

Every member has a point in a space of eight dimensions, and a height for what its own link adds; the distance of two
points estimates the round trip. Each round trip measured pulls our point a little, the more so the less sure we are of
it and the surer the other one is.

Source: gossip specification, section 9; wire format, section 10; Vivaldi (Dabek, Cox, Kaashoek, Morris, 2004);
Network Coordinates in the Wild (Ledlie, Gardner, Seltzer, 2007) for the filter, the adjustment and the gravity.
"""

import math
import random

import msgspec

from gossip.serf_messages import AckCoordinate, decode_ack_payload, encode_ack_payload

DIMENSIONS = 8
ERROR_MAX = 1.5
ERROR_WEIGHT = 0.25
"""How much of a new measurement goes into the error (`ce` of the paper)."""
FORCE_WEIGHT = 0.25
"""How much of a new measurement goes into the position (`cc` of the paper)."""
ADJUSTMENT_SAMPLES_COUNT = 20
HEIGHT_MIN = 1e-5
FILTER_SAMPLES_COUNT = 3
GRAVITY_RHO = 150.0
RTT_S_MAX = 10.0
ZERO = 1e-6
"""Lengths and times below this are taken for nothing."""
PART_MAX = 1e4
"""Seconds from which another's coordinate is refused: round trips end at 10 s, so it is not a place. Beyond rho^2 =
22,500 s, gravity would throw us over the origin farther than we came from, until we are nowhere and start again."""


class Coordinate(msgspec.Struct, frozen=True, kw_only=True):
    """A place, in seconds; `error` is how wrong its owner holds it to be, relative to a round trip."""

    vec: tuple[float, ...] = (0.0,) * DIMENSIONS
    error: float = ERROR_MAX
    adjustment: float = 0.0
    height: float = HEIGHT_MIN

    def finite(self) -> bool:
        """Return whether no part is infinite or not a number."""
        return all(map(math.isfinite, (*self.vec, self.error, self.adjustment, self.height)))

    def complaint(self) -> str | None:
        """Return why this cannot be another member's place, None if it can."""
        if len(self.vec) != DIMENSIONS:
            return f"{len(self.vec)} dimensions instead of {DIMENSIONS}"
        if not self.finite():
            return "a part that is not finite"
        if self.error < 0 or self.height < 0:
            return "a negative error or height"
        if max(map(abs, (*self.vec, self.error, self.adjustment, self.height))) > PART_MAX:
            return f"a part above {PART_MAX:g} s"
        return None


def raw_distance_s(a: Coordinate, b: Coordinate) -> float:
    """Return the distance without adjustments."""
    return math.dist(a.vec, b.vec) + a.height + b.height


def distance_s(a: Coordinate, b: Coordinate) -> float:
    """Return the round trip to be expected between two places of the same number of dimensions."""
    raw = raw_distance_s(a, b)
    adjusted = raw + a.adjustment + b.adjustment
    return adjusted if adjusted > 0 else raw


def payload_of(coordinate: Coordinate) -> bytes:
    """Return what an ack of ours carries."""
    return encode_ack_payload(
        AckCoordinate(
            vec=list(coordinate.vec),
            error=coordinate.error,
            adjustment=coordinate.adjustment,
            height=coordinate.height,
        )
    )


def of_payload(payload: bytes) -> Coordinate | None:
    """Return the place in the payload of an ack, None if there is none; raises InvalidRequest."""
    sent = decode_ack_payload(payload)
    if sent is None:
        return None
    return Coordinate(vec=tuple(sent.vec), error=sent.error, adjustment=sent.adjustment, height=sent.height)


class CoordinateClient:
    """Our own place. The tables hold members only: whoever goes must be forgotten by `forget`."""

    def __init__(self, rng: random.Random) -> None:
        self._rng = rng
        self.coordinate = Coordinate()
        self.resets_count = 0
        self._samples: list[float] = [0.0] * ADJUSTMENT_SAMPLES_COUNT
        self._sample_position = 0
        self._latencies: dict[str, tuple[float, ...]] = {}
        self._others: dict[str, Coordinate] = {}

    def update(self, name: str, other: Coordinate, rtt_s: float) -> str | None:
        """Learn from one round trip to `name`, who says to be at `other`; return why it was refused, if it was."""
        complaint = other.complaint()
        if complaint is not None:
            return complaint
        if not 0 <= rtt_s <= RTT_S_MAX:
            return f"a round trip of {rtt_s} s"
        self._others[name] = other
        rtt_s = self._filtered(name, rtt_s)
        self._pull(other, max(rtt_s, ZERO))
        self._adjust(other, rtt_s)
        self._fall()
        if not self.coordinate.finite():
            self.coordinate = Coordinate()
            self._samples = [0.0] * ADJUSTMENT_SAMPLES_COUNT
            self.resets_count += 1
        return None

    def of(self, name: str) -> Coordinate | None:
        """Return where `name` said to be, None if it never did."""
        return self._others.get(name)

    def all(self) -> dict[str, Coordinate]:
        """Return where everybody said to be; a copy."""
        return dict(self._others)

    def forget(self, name: str) -> None:
        """Drop what is known of a member that is gone."""
        self._latencies.pop(name, None)
        self._others.pop(name, None)

    def _filtered(self, name: str, rtt_s: float) -> float:
        """Return the median of the last round trips: one that was held up somewhere must not move us."""
        samples = (*self._latencies.get(name, ()), rtt_s)[-FILTER_SAMPLES_COUNT:]
        self._latencies[name] = samples
        return sorted(samples)[len(samples) // 2]

    def _pull(self, other: Coordinate, rtt_s: float) -> None:
        ours = self.coordinate
        wrongness = abs(distance_s(ours, other) - rtt_s) / rtt_s
        weight = ours.error / max(ours.error + other.error, ZERO)
        error = ERROR_WEIGHT * weight * wrongness + ours.error * (1.0 - ERROR_WEIGHT * weight)
        force = FORCE_WEIGHT * weight * (rtt_s - distance_s(ours, other))
        self.coordinate = self._moved(msgspec.structs.replace(ours, error=min(error, ERROR_MAX)), force, other)

    def _adjust(self, other: Coordinate, rtt_s: float) -> None:
        self._samples[self._sample_position] = rtt_s - raw_distance_s(self.coordinate, other)
        self._sample_position = (self._sample_position + 1) % ADJUSTMENT_SAMPLES_COUNT
        adjustment = sum(self._samples) / (2.0 * ADJUSTMENT_SAMPLES_COUNT)
        self.coordinate = msgspec.structs.replace(self.coordinate, adjustment=adjustment)

    def _fall(self) -> None:
        """Pull towards the origin: else the whole cluster drifts away together."""
        origin = Coordinate()
        relative = distance_s(origin, self.coordinate) / GRAVITY_RHO
        self.coordinate = self._moved(self.coordinate, -relative * relative, origin)

    def _moved(self, ours: Coordinate, force: float, other: Coordinate) -> Coordinate:
        """Return `ours` pushed by `force` along the line that comes from `other`."""
        unit, length = self._direction(ours.vec, other.vec)
        vec = tuple(part + step * force for part, step in zip(ours.vec, unit, strict=True))
        height = ours.height
        if length > ZERO:
            height = max((ours.height + other.height) * force / length + ours.height, HEIGHT_MIN)
        return Coordinate(vec=vec, error=ours.error, adjustment=ours.adjustment, height=height)

    def _direction(self, ours: tuple[float, ...], other: tuple[float, ...]) -> tuple[list[float], float]:
        """Return the unit vector from `other` to `ours` and their distance; any one and 0 where they coincide."""
        line = [a - b for a, b in zip(ours, other, strict=True)]
        length = math.hypot(*line)
        if length > ZERO:
            return [part / length for part in line], length
        line = [self._rng.random() - 0.5 for _ in range(DIMENSIONS)]
        length = math.hypot(*line)
        if length > ZERO:
            return [part / length for part in line], 0.0
        return [1.0] + [0.0] * (DIMENSIONS - 1), 0.0
