"""The consensus group: Raft, the leader's duties, and the RPC endpoints."""
