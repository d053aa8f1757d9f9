"""The agent's DNS server."""
