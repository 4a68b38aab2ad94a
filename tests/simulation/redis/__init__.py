"""A model of Redis: its data in memory, the commands that syncd uses, and syncd's own Lua over them."""
