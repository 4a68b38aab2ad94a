"""The lanes of syncd over models of both stores: random schedules and faults, and the promises after every step."""
