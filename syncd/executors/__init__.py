"""Work that other processes and machines can do as well: where they are, and that they are the right ones."""
