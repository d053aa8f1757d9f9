"""What this node claims: its services and checks, kept on disk and in the catalog. `docs/internals/anti_entropy.md`."""
