"""What may be logged: one file a family, numbered in registry.py."""
