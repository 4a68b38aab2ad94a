"""Redis over a bare socket: all that limits, probes and checks need, at the least cost to the machine."""

from __future__ import annotations

import socket
from collections.abc import Iterator, Sequence
from types import TracebackType
from typing import Any, Self, TypeAlias
from urllib.parse import urlsplit

import hiredis
from hiredis import ReplyError

__all__ = ["Command", "ReplyError", "Resp", "pack"]

Command: TypeAlias = Sequence[str | bytes | int | float]


class Resp:
    """One blocking connection. Send packed commands, then read as many replies."""

    def __init__(self, url: str, timeout_s: float = 30.0) -> None:
        parts = urlsplit(url)
        if parts.hostname is None:
            raise ValueError(f"not a Redis URL: {url!r}")
        self._socket = socket.create_connection((parts.hostname, parts.port or 6379), timeout_s)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._reader = hiredis.Reader()
        if database := parts.path.strip("/"):
            self.call("SELECT", database)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._socket.close()

    @property
    def nodes(self) -> list[Resp]:
        """All servers that have keys: this one."""
        return [self]

    def send(self, packed: bytes) -> None:
        """Send commands that `pack` made. Keep what is unread below a few thousand small replies."""
        self._socket.sendall(packed)

    def replies(self, count: int) -> list[Any]:
        """The next `count` replies. The first error among them is raised, once all are read."""
        replies = list(self._replies(count))
        for reply in replies:
            if isinstance(reply, ReplyError):
                raise reply
        return replies

    def call(self, *command: str | bytes | int | float) -> Any:
        """One command and its reply."""
        self.send(pack(command))
        return self.replies(1)[0]

    def call_many(self, commands: Sequence[Command]) -> list[Any]:
        """Commands in one round trip; keep it to a few thousand."""
        self.send(b"".join(map(pack, commands)))
        return self.replies(len(commands))

    def _replies(self, count: int) -> Iterator[Any]:
        for _ in range(count):
            while (reply := self._reader.gets()) is False:
                received = self._socket.recv(1 << 18)
                if not received:
                    raise ConnectionError("Redis closed the connection")
                self._reader.feed(received)
            yield reply


def pack(command: Command) -> bytes:
    """One command in the wire format."""
    packed: bytes = hiredis.pack_command(tuple(command))  # type: ignore[arg-type]  # the stub forgets `...`
    return packed
