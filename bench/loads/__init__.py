"""Traffic: wrk where it is installed, else a generator of our own; both answer with the same `LoadResult`."""
