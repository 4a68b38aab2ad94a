"""When a server last answered a lane."""

from __future__ import annotations

import time


class Pulse:
    """Of one lane: noted by its threads, read by any."""

    def __init__(self) -> None:
        self._heard = time.monotonic()

    def heard(self) -> None:
        """A server has answered."""
        self._heard = time.monotonic()

    @property
    def silence(self) -> float:
        """Seconds since a server answered."""
        return time.monotonic() - self._heard
