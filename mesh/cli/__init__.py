"""The `mesh` command: thin, fast to start, data on stdout and everything else on stderr."""
