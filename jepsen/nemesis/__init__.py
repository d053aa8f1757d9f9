"""Faults. Each is a package: how to inject, how its effect is seen, how to heal. `registry.py` lists them."""
