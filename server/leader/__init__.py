"""What only the leader does, from the moment its own term's first entry is applied until it leads no more."""
