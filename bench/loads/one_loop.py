"""mesh-server with gossip in the loop of everything else: what the thread of its own is measured against."""

import functools

from agent import gossip
from gossip.pool import GossipPool
from server.main import main

setattr(gossip, "GossipPool", functools.partial(GossipPool, own_thread=False))  # noqa: B010  the name is the module's own

if __name__ == "__main__":
    main()
