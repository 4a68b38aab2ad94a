"""Work that other processes and machines can do as well: how they are reached, and the proof that they fit."""
