"""RPC methods: one file a noun, every method a row of `registry.METHODS`.

Reads are plain functions over a read view: where they run, how fresh they must be and whether they block is decided
outside (`server/reads.py`, `server/blocking.py`, `server/forwarding.py`). Writes run only on the leader. Local
methods are answered by whoever is asked.
"""
