"""What a run shows to people: a line while it runs, a table when it ends, a page to look at."""
