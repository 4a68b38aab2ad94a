"""The driver's connections, to the model instead of a socket."""

from __future__ import annotations

from collections import deque
from typing import Any, Protocol

import hiredis
from redis._parsers.base import BaseParser
from redis.connection import Connection
from redis.exceptions import ConnectionError as LinkError

from tests.simulation.loop import Killed, Process, Ticket, current
from tests.simulation.redis.data import ReplyError, Status
from tests.simulation.redis.server import RedisModel


class Sender(Protocol):
    """What has sent something."""

    sent: deque[list[bytes]]
    held_until: float
    """Nothing of it arrives before."""
    process: Process

    def arrive(self) -> None:
        """The server takes the next command."""


class Network(Protocol):
    """What connections of a process go through."""

    @property
    def redis(self) -> RedisModel:
        """The server that answers at present."""

    def is_cut(self, process: Process) -> bool:
        """Whether nothing of this process reaches Redis."""

    def loses(self) -> bool:
        """Whether the connection breaks at this moment."""

    def send(self, sender: Sender) -> None:
        """Something is on its way to Redis, and arrives some time."""


class ModelConnection(Connection):
    """Commands go out in order, and arrive one by one, even after the process that sent them is gone."""

    def __init__(self, network: Network, process: Process, **options: Any) -> None:
        super().__init__(
            **{n: v for n, v in options.items() if n in ("protocol", "legacy_responses", "retry")}
        )
        self._network, self.process = network, process
        self.sent: deque[list[bytes]] = deque()
        self._replies: deque[Any] = deque()
        self._requests = hiredis.Reader()
        self._reader: Ticket | None = None
        self.is_open = self._is_broken = False
        """Broken: the process does not know it yet."""
        self.held_until = 0.0
        self._run = 0
        """Which process of Redis it is open to."""
        self._queued: list[Any] | None = None
        """Replies of a transaction that has begun."""

    def connect(self) -> None:
        """Open, unless it is."""
        if self.is_open:
            return
        if self._network.is_cut(self.process):
            raise LinkError("Error 111 connecting to the model. Connection refused.")
        self.is_open, self._run = True, self._network.redis.run
        self.sent.clear()
        self._queued, self._is_broken = None, False

    def on_connect(self) -> None:
        """The model needs no greeting."""

    @property
    def is_connected(self) -> bool:
        """Whether it is open."""
        return self.is_open

    def disconnect(self, *args: Any, **options: Any) -> None:
        """Close. What was sent may arrive all the same."""
        if self.is_open and self.sent and not self.process.is_dead:
            self._network.send(Remainder(self._network, self, self.sent, self._run))
            self.sent = deque()
        self.is_open = self._is_broken = False
        self._replies.clear()

    def fail(self) -> None:
        """The link breaks."""
        self._is_broken = True
        if self._reader is not None:
            current().wake(self._reader)

    def send_packed_command(self, command: Any, check_health: bool = True) -> None:
        """Send, without waiting for anything."""
        if self.process.is_dead:
            raise Killed
        current().let_others()
        if not self.is_open:
            self.connect()
        if self._is_broken or self._network.is_cut(self.process) or self._network.loses():
            self.fail()
            raise LinkError("Error 104 while writing to socket. Connection reset by peer.")
        for part in command if isinstance(command, list | tuple) else [command]:
            self._requests.feed(part)
        while (request := self._requests.gets()) is not False:
            self.sent.append(request)
        self._network.send(self)

    def arrive(self) -> None:
        """The server takes the next command."""
        command = self.sent.popleft()
        server = self._network.redis
        if server.run != self._run:
            self.fail()
            return  # that one is gone
        reply = self._answer(server, command)
        if reply is None and b"BLOCK" in command:
            self._ask_again(server, command)
            return
        self._tell(reply)

    def _ask_again(self, server: RedisModel, command: list[bytes]) -> None:
        """Nothing was there, and the client waits: it gets what is there when its time is over."""
        at = command.index(b"BLOCK")
        asked = command[:at] + command[at + 2 :]

        def answer() -> None:
            if server is self._network.redis and server.run == self._run and self.is_open:
                self._tell(self._answer(server, asked))

        current().after(int(command[at + 1]) / 1000, answer)

    def _tell(self, reply: Any) -> None:
        if self.is_open and not self._is_broken and not self.process.is_dead:
            self._replies.append(reply)
            if self._reader is not None:
                current().wake(self._reader)

    def _answer(self, server: RedisModel, command: list[bytes]) -> Any:
        """A transaction is done as it comes: what is between its commands is of no other connection."""
        if command[0] == b"MULTI":
            self._queued = []
            return Status(b"OK")
        if command[0] == b"EXEC":
            replies, self._queued = self._queued, None
            return replies
        reply = server.execute(command)
        if self._queued is None:
            return reply
        self._queued.append(reply)
        return Status(b"QUEUED")

    def can_read(self, timeout: float = 0) -> bool:
        """Whether a reply is there."""
        return bool(self._replies)

    def read_response(self, *args: Any, **options: Any) -> Any:
        """The next reply, when it is there."""
        if self.process.is_dead:
            raise Killed
        loop = current()
        loop.let_others()
        while not self._replies:
            if not self.is_open or self._is_broken or self._run != self._network.redis.run:
                self.fail()
                raise LinkError("Connection closed by server.")
            if self._network.is_cut(self.process) or self._network.loses():
                self.fail()
                raise LinkError("Timeout reading from socket")
            if self.sent:
                self.arrive()
            else:
                self._reader = loop.ticket()
                loop.park(15.0)
                self._reader = None
        reply = self._replies.popleft()
        if isinstance(reply, ReplyError):
            raise error_of(str(reply))
        return bytes(reply) if type(reply) is Status else _plain(reply)


class Remainder:
    """What a connection had sent when it was closed: it may arrive when no caller waits for it any more."""

    def __init__(self, network: Network, sender: ModelConnection, sent: deque[list[bytes]], run: int) -> None:
        self._network, self._run = network, run
        self.sent, self.process = sent, sender.process
        self.held_until = current().clock + current().random.choice([0.0, 0.001, 0.3, 5.0])

    def arrive(self) -> None:
        """The server takes the next command, unless it is another one by now."""
        command = self.sent.popleft()
        if self._network.redis.run == self._run:
            self._network.redis.execute(command)


def _plain(reply: Any) -> Any:
    if type(reply) is list:
        return [error_of(str(part)) if isinstance(part, ReplyError) else _plain(part) for part in reply]
    return bytes(reply) if type(reply) is Status else reply


def error_of(text: str) -> Exception:
    """The driver's error of a reply."""
    error: Exception = BaseParser.parse_error(text)
    return error
