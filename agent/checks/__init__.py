"""Finding out how services and nodes are: `runs.py` owns every check of an agent, one file a kind knows how to ask.

`status.py`, `schedule.py`, `ttl.py` and `output.py` decide; everything else acts. See docs/internals/checks.md.
"""
