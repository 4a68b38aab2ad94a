"""The scripts that people write themselves, and what runs products of others; each is a process of its own."""
