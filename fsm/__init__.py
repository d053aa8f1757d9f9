"""The replicated state: the same on every server; no clock, no chance, no sockets."""
