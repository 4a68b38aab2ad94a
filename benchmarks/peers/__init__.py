"""The scripts that people write themselves, each run as a process of its own."""
