"""The agent's cache: what was asked before is answered here, and kept fresh in the background."""
