"""Who may do what. Sans-IO; servers and agents both ask it.

`access.py` names what a method or a route needs. Policies and tokens come with the issue that brings them; until
then only roles (which come from certificates) are enforced, and every need is already written down.
"""
