"""What clients do, and what must hold of what they saw. `registry.py` lists them."""
