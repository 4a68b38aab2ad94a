"""The connections to Redis that all lanes of a daemon share."""

from __future__ import annotations

import contextlib
from typing import Any

from redis.connection import ConnectionPool

MOST_CONNECTIONS = 1_000_000
"""No limit of ours: each thread that waits for Redis has one connection, and a lane that got none would only fail."""
SPARE_CONNECTIONS = 64
"""Idle ones that are kept open. Five hundred lanes that begin together leave five hundred behind."""


class SharedPool(ConnectionPool):
    """Gives out the connection that was used last, and closes those that only many lanes at once had needed."""

    def release(self, connection: Any) -> None:
        """Take a connection back."""
        if len(self._available_connections) < SPARE_CONNECTIONS:
            super().release(connection)
            return
        connection.disconnect()
        super().release(connection)
        with self._lock, contextlib.suppress(ValueError):  # another thread may have it by now
            self._available_connections.remove(connection)
            self._available_connections.insert(0, connection)
