"""A server whose disk, clocks or promises can be broken from outside: the test-only wrapper around the product."""
