"""Breaks a real cluster on purpose and checks what its clients saw. Start with README.md beside this file."""
