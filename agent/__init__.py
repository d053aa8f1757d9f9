"""What runs on every host: HTTP, local state, and the way to the servers."""
