"""The replicated state: commands, tables, watches, digests, snapshots. The same log gives the same state everywhere."""
