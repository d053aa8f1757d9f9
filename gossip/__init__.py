"""Who is alive: SWIM membership with Lifeguard, and the layer on top of it (tags, intents, events, queries, keys).

Theory of operation. Every member probes another one each second, asks others to probe for it when no answer comes, and
suspects in public whom nobody reaches; who hears that it is suspected says so in time, everybody else is declared dead.
What is new travels on the back of probes and of small packets to random members, and whole tables are compared with a
random member now and then, so that nothing is missed for long.

Who decides: `machine.py` (events in, instructions out) on `swim.py` (members, probes, suspicion) and `serf.py` (tags,
leave and join intents, user events, queries, key rotation, conflicts, coordinates). Who acts: `driver.py`, the only
file with sockets and timers. What is on the wire: the records of `messages.py`, `serf_messages.py`,
`meta.py` and `push_pull.py`, as `fields.py` lays them out, and around them `packets.py`, `streams.py`, `lzw.py` and
`keyring.py`.

Invariants: a member's incarnation, as anybody knows it, never falls; only a member itself raises its own; who is dead
or suspected wrongly gets to know it, since the dead are gossiped to as well; every queue, table and packet has a bound.

Source: gossip specification; SWIM (Das, Gupta, Motivala, 2002); Lifeguard (Dadgar, Phillips, Currey, 2018).
"""
