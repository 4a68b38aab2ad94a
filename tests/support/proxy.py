"""A TCP proxy on 127.0.0.1 that breaks the network in ways a test can choose."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Mapping
from contextlib import suppress
from enum import Enum, auto

from syncd.embedded import LOOPBACK, Port
from tests.support.hold import Hold

CHUNK_BYTES = 65_536
CONNECT_TIMEOUT = 5.0  # seconds; a frozen server accepts until its backlog is full
HOLD_POLL = 0.01  # seconds between two looks at whether held bytes may go on


class Mode(Enum):
    OPEN = auto()
    CUT = auto()
    HALF_OPEN = auto()
    BLACKHOLE = auto()


class Proxy:
    """Forwards to `port`, as a context manager; all modes may be set at any time and hold until `restore()`.

    With MongoDB use `mongo_uri`: a driver that discovers the replica set goes past the proxy.
    """

    def __init__(self, port: int) -> None:
        self.target = (LOOPBACK, port)
        self._port = Port()
        self.mode = Mode.OPEN
        self.latency = 0.0
        self.bytes_to_server = 0
        self.bytes_to_client = 0
        self._lock = threading.Lock()
        self._links: set[_Link] = set()
        self._trap: _Trap | None = None
        self._holds: list[Hold] = []
        self.words: Mapping[bytes, bytes] = {}
        self._listener = socket.create_server((LOOPBACK, self.port))
        self._acceptor = threading.Thread(target=self._accept, name=f"proxy-{self.port}", daemon=True)
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
            return len(self._links)

    def cut(self) -> None:
        """Connections break, new ones too."""
        self.mode = Mode.CUT
        self._close_links()

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
        self.mode = Mode.OPEN
        self.latency = 0.0
        self._trap = None
        self.words = {}
        self._let_go()
        self._close_links(only_torn=True)

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
        self.mode = Mode.CUT
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)  # wakes the acceptor, which close() alone does not
        self._listener.close()
        self._acceptor.join()
        self._close_links()
        self._port.release()

    def __enter__(self) -> Proxy:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

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
            link = _Link(self, client, server)
            with self._lock:
                self._links.add(link)
            link.start()
            if self._is_cut():  # while this one came up
                link.close()

    def _reach_server(self) -> socket.socket | None:
        if self._is_cut():
            return None
        try:
            server = socket.create_connection(self.target, timeout=CONNECT_TIMEOUT)
        except OSError:
            return None
        server.settimeout(None)
        return server

    def _is_cut(self) -> bool:
        return self.mode is Mode.CUT

    def _close_links(self, only_torn: bool = False) -> None:
        with self._lock:
            links = [link for link in self._links if link.torn or not only_torn]
        for link in links:
            link.close()
            link.join()

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
            holds += [link.held for link in self._links if link.held is not None]
        for hold in holds:
            hold.release()

    def count(self, to_server: int = 0, to_client: int = 0) -> None:
        with self._lock:
            self.bytes_to_server += to_server
            self.bytes_to_client += to_client

    def forget(self, link: _Link) -> None:
        with self._lock:
            self._links.discard(link)


class _Trap:
    def __init__(self, containing: bytes) -> None:
        self.containing = containing
        self.sprung = threading.Event()


class _Link:
    """One connection through the proxy: two threads, one a direction."""

    def __init__(self, proxy: Proxy, client: socket.socket, server: socket.socket) -> None:
        self._proxy = proxy
        self._client = client
        self._server = server
        self._closed = threading.Event()
        self._trap: _Trap | None = None
        self.held: Hold | None = None
        self.torn = False  # lost bytes: nothing that follows can be understood
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
        self._proxy.forget(self)

    def _run(self, pump: Callable[[], None]) -> None:
        with suppress(OSError):  # either side may go at any time; that is what a proxy passes on
            pump()
        self.close()

    def _requests(self) -> None:
        while data := self._client.recv(CHUNK_BYTES):
            self._travel()
            self._trap = self._trap or self._proxy.take_trap(data)
            self.held = self.held or self._proxy.take_hold(data)
            if self.held and not self.held.is_reply:
                if not self.held.keep(self._has_client_gone):
                    return
                self.held = None
            self._proxy.count(to_server=len(data))
            self._server.sendall(data)

    def _replies(self) -> None:
        while data := self._server.recv(CHUNK_BYTES):
            self._travel()
            if self.held and self.held.is_reply:
                if not self.held.keep(self._closed.is_set):
                    return
                self.held = None
            if self._trap is not None:
                self.close()
                self._trap.sprung.set()
                return
            if self._proxy.mode is Mode.HALF_OPEN:
                self.torn = True
                continue
            for word, instead in self._proxy.words.items():
                data = data.replace(word, instead)
            self._proxy.count(to_client=len(data))  # before: whoever got the bytes may look at once
            self._client.sendall(data)

    def _has_client_gone(self) -> bool:
        """While nobody reads from the client, only a look tells."""
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
