"""Consensus: pysyncobj's protocol logic as a sans-IO core, with our own disk, wire, clock and reads around it.

Decide: `core.py` (what the library would do, with our guards), `envelope.py`, `prevote.py`, `lease.py`,
`membership.py`. Act: `driver.py` (the loop), `transport.py` (connections), `journal.py` (the log on disk),
`snapshots.py` (folders), `node.py` (what the rest of the server sees). Touches the library's private names:
`pysyncobj_seams.py` alone.

Invariants: nothing is acknowledged before it is durable on a majority; one vote a term; what a majority has
acknowledged is in every later leader's log; every server applies the same entries in the same order.
"""
