"""The wire between agents and servers, and between servers; knows nothing of keys, services or Raft."""
