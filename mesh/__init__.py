"""What a user imports or types: the client library and the `mesh` command."""
