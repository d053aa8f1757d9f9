"""What we measure, how, and the ledger of results. `python -m bench kv` starts a cluster of real processes.

`kv.py` says what is measured, `harness.py` starts and observes processes, `loads/` makes the traffic, `ledger.py`
knows the goals and keeps the results. Nothing here is a test: no figure fails anything.
"""
