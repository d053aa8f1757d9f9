"""Executing prepared queries: which query a name means, its steps here, and where to look when nobody is healthy here.

`steps.py` and `failover.py` decide, `failing_over.py` acts; `server/endpoints/prepared_query.py` has the methods.
"""
