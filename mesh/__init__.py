"""The client library, and the `mesh` command on top of it. It talks HTTP to an agent and knows nothing of servers.

from mesh.client import Client

with Client("http://127.0.0.1:8500") as client:
    client.kv.put("app/color", b"blue")
    entry = client.kv.get("app/color")
"""
