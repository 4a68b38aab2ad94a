"""syncd beside its peers and beside the limit of the servers: `python -m benchmarks`."""
