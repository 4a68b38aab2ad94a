"""A link between this machine and one of its servers, which can be cut, and which counts what goes over it."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import Self

from syncd.embedded.ports import LOOPBACK, Port

CHUNK_BYTES = 65_536
CONNECT_TIMEOUT = 5.0  # seconds; a frozen server accepts until its backlog is full


class Link:
    """Forwards from a port of its own to `port`, as a context manager.

    With MongoDB use `mongo_uri`: a driver that discovers the replica set goes past the link.
    """

    def __init__(self, port: int) -> None:
        self.target = (LOOPBACK, port)
        self._port = Port()
        self.bytes_to_server = 0
        self.bytes_to_client = 0
        self.is_cut = False
        self._lock = threading.Lock()
        self._pipes: set[Pipe] = set()
        self._listener = socket.create_server((LOOPBACK, self.port))
        self._acceptor = threading.Thread(target=self._accept, name=f"link-{self.port}", daemon=True)
        self._acceptor.start()

    @property
    def port(self) -> int:
        return self._port.number

    @property
    def redis_url(self) -> str:
        return f"redis://{LOOPBACK}:{self.port}/0"

    @property
    def mongo_uri(self) -> str:
        return f"mongodb://{LOOPBACK}:{self.port}/?directConnection=true"

    @property
    def connections(self) -> int:
        with self._lock:
            return len(self._pipes)

    @property
    def bytes(self) -> int:
        """Count the bytes of both directions."""
        with self._lock:
            return self.bytes_to_server + self.bytes_to_client

    def cut(self) -> None:
        """Connections break, new ones too, until `restore`."""
        self.is_cut = True
        self._close_pipes()

    def restore(self) -> None:
        """Connections may be made again."""
        self.is_cut = False

    def close(self) -> None:
        self.is_cut = True
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)  # wakes the acceptor, which close() alone does not
        self._listener.close()
        self._acceptor.join()
        self._close_pipes()
        self._port.release()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def _pipe(self, client: socket.socket, server: socket.socket) -> Pipe:
        """One connection."""
        return Pipe(self, client, server)

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return  # closed
            server = self._reach_server()
            if server is None:
                client.close()
                continue
            pipe = self._pipe(client, server)
            with self._lock:  # `close` may join it, which needs threads that were started
                self._pipes.add(pipe)
                pipe.start()
            if self._was_cut():  # while this one came up
                pipe.close()

    def _reach_server(self) -> socket.socket | None:
        if self._was_cut():
            return None
        try:
            server = socket.create_connection(self.target, timeout=CONNECT_TIMEOUT)
        except OSError:
            return None
        server.settimeout(None)
        return server

    def _was_cut(self) -> bool:
        return self.is_cut

    def _close_pipes(self, which: Callable[[Pipe], bool] = lambda _: True) -> None:
        with self._lock:
            pipes = [pipe for pipe in self._pipes if which(pipe)]
        for pipe in pipes:
            pipe.close()
            pipe.join()

    def count(self, to_server: int = 0, to_client: int = 0) -> None:
        """Count what a pipe passes on."""
        with self._lock:
            self.bytes_to_server += to_server
            self.bytes_to_client += to_client

    def forget(self, pipe: Pipe) -> None:
        """Forget a pipe that is closed."""
        with self._lock:
            self._pipes.discard(pipe)


class Pipe:
    """One connection over a link: two threads, one a direction."""

    def __init__(self, link: Link, client: socket.socket, server: socket.socket) -> None:
        self._link = link
        self._client = client
        self._server = server
        self._closed = threading.Event()
        self._threads = [
            threading.Thread(target=self._run, args=(pump,), daemon=True)
            for pump in (self._requests, self._replies)
        ]
        for end in (client, server):
            end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def start(self) -> None:
        for thread in self._threads:
            thread.start()

    def join(self) -> None:
        for thread in self._threads:
            thread.join()

    def close(self) -> None:
        self._closed.set()
        for end in (self._client, self._server):
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)  # wakes a thread that reads from it
            end.close()
        self._link.forget(self)

    def _run(self, pump: Callable[[], None]) -> None:
        with suppress(OSError):  # either side may go at any time; that is what a link passes on
            pump()
        self.close()

    def _requests(self) -> None:
        while data := self._client.recv(CHUNK_BYTES):
            if not self._pass_request(data):
                return
            self._link.count(to_server=len(data))
            self._server.sendall(data)

    def _replies(self) -> None:
        while data := self._server.recv(CHUNK_BYTES):
            passed = self._pass_reply(data)
            if passed is None:
                return
            self._link.count(
                to_client=len(passed)
            )  # before: a test may read the count as soon as bytes arrive
            self._client.sendall(passed)

    def _pass_request(self, data: bytes) -> bool:
        """Whether to go on with a request; after False the connection ends."""
        return True

    def _pass_reply(self, data: bytes) -> bytes | None:
        """What the client gets; after None the connection ends."""
        return data
