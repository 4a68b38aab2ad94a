"""A request or a reply that the proxy keeps back, so that a test can choose the moment of a fault."""

from __future__ import annotations

import threading
from collections.abc import Callable

from tests.support.check import PATIENCE_S

POLL = 0.01  # seconds between two checks whether it may go on


class Hold:
    """See `Proxy.hold_request` and `Proxy.hold_reply`. One request is one read of up to 64 KiB."""

    def __init__(self, containing: tuple[bytes, ...], nth: int, *, is_reply: bool) -> None:
        self._containing, self._left = containing, nth
        self.is_reply = is_reply
        self.arrived = threading.Event()
        """Set when it is kept back: of a reply, when the server has acted."""
        self._released = threading.Event()

    def is_due(self, request: bytes) -> bool:
        if not all(part in request for part in self._containing):
            return False
        self._left -= 1
        return self._left == 0

    def wait(self, timeout: float = PATIENCE_S) -> None:
        """Until the daemon, or the server, has come to this point."""
        assert self.arrived.wait(max(timeout, PATIENCE_S)), f"nothing with {self._containing!r} came by"

    def release(self) -> None:
        """Let it go on its way."""
        self._released.set()

    def keep(self, gone: Callable[[], bool]) -> bool:
        """Waits until the release, or until `gone`; whether to go on."""
        self.arrived.set()
        while not self._released.wait(POLL):
            if gone():
                return False
        return True
