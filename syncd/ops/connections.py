"""Connections of the HTTP server, few and short: whatever connects, lanes have descriptors left and probes an answer.

Above the limit a new connection takes the place of the oldest that waits for a request, so that a probe comes through a
crowd of connections that say nothing. A request, from its first byte to the last of its answer, has a time limit.
"""

from __future__ import annotations

import asyncio
import logging
import resource
import time
from typing import Any, ClassVar

from uvicorn.protocols.http.h11_impl import H11Protocol

from syncd import telemetry
from syncd.text import clipped, escaped

REQUEST_S = 10.0
KEEP_ALIVE_S = 5
LARGEST_HEAD = 16 * 1024
MOST_DESCRIPTORS = 65_536
"""Asked for: some systems would give a thousand million, and a new process looks at each."""
TOLD_EVERY_S = 60.0


def raise_descriptors() -> int:
    """Take as many descriptors as the system lets us have. Returns how many that is."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = MOST_DESCRIPTORS if hard == resource.RLIM_INFINITY else min(hard, MOST_DESCRIPTORS)
    if soft == resource.RLIM_INFINITY or soft >= wanted:
        return MOST_DESCRIPTORS if soft == resource.RLIM_INFINITY else soft
    resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
    return wanted


def most_connections() -> int:
    """An eighth of the descriptors, between 16 and 256; the rest is for lanes."""
    soft = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    return 256 if soft == resource.RLIM_INFINITY else max(16, min(256, soft // 8))


class Gate:
    """Who is connected, the longest first. Used by the thread of the event loop alone."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._present: dict[Connection, None] = {}

    def enter(self, connection: Connection) -> None:
        """Let it in, in place of another where it is crowded; or turn it away."""
        if len(self._present) >= self._most:
            oldest = next((one for one in self._present if not one.is_busy), None)
            (oldest or connection).cut()
            if oldest is None:
                return
            self.leave(oldest)
        self._present[connection] = None

    def leave(self, connection: Connection) -> None:
        """It has gone."""
        self._present.pop(connection, None)


class Connection(H11Protocol):
    """One connection with an end to its patience."""

    gate: ClassVar[Gate]
    _deadline: asyncio.TimerHandle | None = None

    @property
    def is_busy(self) -> bool:
        """Whether a whole request head has come, and no whole answer has gone."""
        return self.cycle is not None and not self.cycle.response_complete

    def cut(self) -> None:
        """End it at once."""
        self.transport.abort()

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """A client has connected."""
        super().connection_made(transport)
        self._deadline = self.loop.call_later(REQUEST_S, self.cut)
        self.gate.enter(self)

    def data_received(self, data: bytes) -> None:
        """Some bytes have come."""
        if self._deadline is None:
            self._deadline = self.loop.call_later(REQUEST_S, self.cut)
        super().data_received(data)

    def on_response_complete(self) -> None:
        """The answer is out."""
        self._wait_no_more()
        super().on_response_complete()

    def connection_lost(self, exc: Exception | None) -> None:
        """It has ended."""
        self._wait_no_more()
        self.gate.leave(self)
        super().connection_lost(exc)

    def _wait_no_more(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None


def connection_class(most: int) -> type[Connection]:
    """The class of the connections of one server."""
    return type("ServerConnection", (Connection,), {"gate": Gate(most)})


class Quiet(logging.Handler):
    """What the HTTP server and its event loop log, as one line a minute with a count: anybody can make them log."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self._told = -TOLD_EVERY_S
        self._count = 0

    def emit(self, record: logging.LogRecord) -> None:
        """Count it, and tell of it where the last time is long ago."""
        self._count += 1
        if time.monotonic() - self._told < TOLD_EVERY_S:
            return
        error: Any = record.exc_info[1] if record.exc_info else None
        telemetry.http_trouble(clipped(escaped(str(record.msg)), 120), error, self._count)
        self._told, self._count = time.monotonic(), 0

    def install(self) -> None:
        """In place of what would print every line."""
        for name in ("uvicorn", "uvicorn.error", "uvicorn.asgi", "asyncio"):
            logger = logging.getLogger(name)
            logger.handlers, logger.propagate = [self], False
            logger.setLevel(logging.WARNING)
