"""A TCP proxy on 127.0.0.1 that breaks the network in ways a test can choose."""

from __future__ import annotations

import socket
import threading
from collections.abc import Mapping
from enum import Enum, auto

from syncd.embedded import Link
from syncd.embedded.link import Pipe
from tests.support.broken.hold import Hold

HOLD_POLL = 0.01  # seconds between two checks whether held bytes may go on


class Mode(Enum):
    OPEN = auto()
    HALF_OPEN = auto()
    BLACKHOLE = auto()


class Proxy(Link):
    """A link with more ways to break; all may be set at any time and hold until `restore()`."""

    def __init__(self, port: int) -> None:
        self.mode = Mode.OPEN
        self.latency = 0.0
        self._trap: _Trap | None = None
        self._holds: list[Hold] = []
        self.words: Mapping[bytes, bytes] = {}
        super().__init__(port)

    def _pipe(self, client: socket.socket, server: socket.socket) -> _Pipe:
        return _Pipe(self, client, server)

    def blackhole(self) -> None:
        """Nothing arrives, and nothing breaks. What was sent meanwhile arrives after `restore()`."""
        self.mode = Mode.BLACKHOLE

    def half_open(self) -> None:
        """The server gets the requests and acts on them; its replies are lost."""
        self.mode = Mode.HALF_OPEN

    def delay(self, seconds: float) -> None:
        """Each direction takes `seconds` longer, and as on a long link no more than 64 KiB are on the way."""
        self.latency = seconds

    def restore(self) -> None:
        """Everything forwards again, what was held too; connections that lost replies break."""
        super().restore()
        self.mode = Mode.OPEN
        self.latency = 0.0
        self._trap = None
        self.words = {}
        self._let_go()
        self._close_pipes(lambda pipe: isinstance(pipe, _Pipe) and pipe.torn)

    def close_after_next_request(self, containing: bytes = b"") -> threading.Event:
        """The server gets the next request (with these bytes in it) and answers, but the connection closes
        instead. The event that is returned is set then. One request is one read of up to 64 KiB."""
        trap = _Trap(containing)
        with self._lock:
            self._trap = trap
        return trap.sprung

    def hold_request(self, *containing: bytes, nth: int = 1) -> Hold:
        """Keeps back the n-th request from now on that has all of these bytes in it, and what follows it on its
        connection. A client that goes meanwhile takes it along: the server never gets it."""
        return self._hold(Hold(containing, nth, is_reply=False))

    def hold_reply(self, *containing: bytes, nth: int = 1) -> Hold:
        """The server gets the n-th request that has all of these bytes in it, and acts on it; its reply is kept
        back."""
        return self._hold(Hold(containing, nth, is_reply=True))

    def replace_in_replies(self, words: Mapping[bytes, bytes]) -> None:
        """The server says something else, of the same length: what no server says on demand."""
        self.words = dict(words)

    def close(self) -> None:
        self._let_go()
        super().close()

    def take_trap(self, request: bytes) -> _Trap | None:
        with self._lock:
            trap = self._trap
            if trap is None or trap.containing not in request:
                return None
            self._trap = None
            return trap

    def _hold(self, hold: Hold) -> Hold:
        with self._lock:
            self._holds.append(hold)
        return hold

    def take_hold(self, request: bytes) -> Hold | None:
        with self._lock:
            found = next((hold for hold in self._holds if hold.is_due(request)), None)
            if found is not None:
                self._holds.remove(found)
            return found

    def _let_go(self) -> None:
        with self._lock:
            holds, self._holds = self._holds, []
            holds += [pipe.held for pipe in self._pipes if isinstance(pipe, _Pipe) and pipe.held is not None]
        for hold in holds:
            hold.release()


class _Trap:
    def __init__(self, containing: bytes) -> None:
        self.containing = containing
        self.sprung = threading.Event()


class _Pipe(Pipe):
    def __init__(self, proxy: Proxy, client: socket.socket, server: socket.socket) -> None:
        super().__init__(proxy, client, server)
        self._proxy = proxy
        self._trap: _Trap | None = None
        self.held: Hold | None = None
        self.torn = False  # lost bytes: nothing that follows can be understood

    def _pass_request(self, data: bytes) -> bool:
        self._travel()
        self._trap = self._trap or self._proxy.take_trap(data)
        self.held = self.held or self._proxy.take_hold(data)
        if self.held and not self.held.is_reply:
            if not self.held.keep(self._has_client_gone):
                return False
            self.held = None
        return True

    def _pass_reply(self, data: bytes) -> bytes | None:
        self._travel()
        if self.held and self.held.is_reply:
            if not self.held.keep(self._closed.is_set):
                return None
            self.held = None
        if self._trap is not None:
            self.close()
            self._trap.sprung.set()
            return None
        if self._proxy.mode is Mode.HALF_OPEN:
            self.torn = True
            return b""
        for word, instead in self._proxy.words.items():
            data = data.replace(word, instead)
        return data

    def _has_client_gone(self) -> bool:
        """While no thread reads from the client, only a poll shows it."""
        if self._closed.is_set():
            return True
        try:
            return not self._client.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT)
        except BlockingIOError:
            return False

    def _travel(self) -> None:
        self._closed.wait(self._proxy.latency)
        while self._proxy.mode is Mode.BLACKHOLE and not self._closed.wait(HOLD_POLL):
            pass
