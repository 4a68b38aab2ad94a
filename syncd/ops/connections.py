"""Connections of the HTTP server, few and short, so that lanes always have descriptors and probes an answer.

Above the limit a new connection takes the place of the oldest that waits for a request, so that a probe gets through
many idle connections. A request, from its first byte to the last of its answer, has a time limit.
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
"""The limit to ask for: some systems would allow a thousand million, and a new process checks each."""
LOG_EVERY_S = 60.0


def raise_descriptors() -> int:
    """Raise the limit of descriptors as far as the system allows. Returns the limit."""
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
    """The open connections, the oldest first. Used by the thread of the event loop alone."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._present: dict[Connection, None] = {}

    def enter(self, connection: Connection) -> None:
        """Accept a connection, at the limit in place of an idle one; or cut it."""
        if len(self._present) >= self._most:
            oldest = next((one for one in self._present if not one.is_busy), None)
            (oldest or connection).cut()
            if oldest is None:
                return
            self.leave(oldest)
        self._present[connection] = None

    def leave(self, connection: Connection) -> None:
        """Forget a connection that is closed."""
        self._present.pop(connection, None)


class Connection(H11Protocol):
    """One connection with a time limit for each request."""

    gate: ClassVar[Gate]
    _deadline: asyncio.TimerHandle | None = None

    @property
    def is_busy(self) -> bool:
        """Whether a whole request head has come, and its answer is not complete."""
        return self.cycle is not None and not self.cycle.response_complete

    def cut(self) -> None:
        """Close the connection at once."""
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
        """The answer has been sent."""
        self._wait_no_more()
        super().on_response_complete()

    def connection_lost(self, exc: Exception | None) -> None:
        """The connection is closed."""
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
    """Logs errors of the HTTP server and its event loop, which any client can cause, as one line a minute."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self._logged = -LOG_EVERY_S
        self._count = 0

    def emit(self, record: logging.LogRecord) -> None:
        """Count a record, and log it when the last line is older than LOG_EVERY_S."""
        self._count += 1
        if time.monotonic() - self._logged < LOG_EVERY_S:
            return
        error: Any = record.exc_info[1] if record.exc_info else None
        telemetry.http_trouble(clipped(escaped(str(record.msg)), 120), error, self._count)
        self._logged, self._count = time.monotonic(), 0

    def install(self) -> None:
        """Take the place of the handlers that would print every line."""
        for name in ("uvicorn", "uvicorn.error", "uvicorn.asgi", "asyncio"):
            logger = logging.getLogger(name)
            logger.handlers, logger.propagate = [self], False
            logger.setLevel(logging.WARNING)
