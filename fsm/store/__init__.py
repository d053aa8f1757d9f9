"""What is kept, in LMDB: one file a noun, pure functions over a view or a batch."""
