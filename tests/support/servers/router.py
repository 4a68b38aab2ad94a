"""What a mongos does, by the router that is inside each mongod of a sharded cluster, see `Router`."""

from __future__ import annotations

import socket
import struct
import threading
from collections.abc import Callable, Mapping
from typing import Any, Self

import bson
from bson.raw_bson import DEFAULT_RAW_BSON_OPTIONS
from bson.timestamp import Timestamp
from pymongo.errors import ConnectionFailure, PyMongoError

from syncd.embedded import LOOPBACK
from tests.support.servers.cluster_clock import Clock
from tests.support.servers.merged_stream import MergedStreams

Document = dict[str, Any]
Handler = Callable[[str, Document], Document]

_HEADER = struct.Struct("<iiii")
_OP_REPLY, _OP_QUERY, _OP_MSG = 1, 2004, 2013
_BODY = 16 + 4 + 1
"""Where the first document of an OP_MSG begins: behind the header, the flags, and the kind of the section."""
_ROUTED = {
    b"find": b"clusterFind", b"aggregate": b"clusterAggregate", b"getMore": b"clusterGetMore",
    b"insert": b"clusterInsert", b"update": b"clusterUpdate", b"delete": b"clusterDelete",
}  # fmt: skip
_STATEMENTS = {"insert": "documents", "update": "updates", "delete": "deletes"}
_OF_LOCAL = b"\x02$db\x00\x06\x00\x00\x00local\x00"
"""How a command says that it is for that database."""
_ANY_SERVER = {
    b"hello", b"isMaster", b"ismaster", b"ping", b"buildInfo", b"buildinfo", b"endSessions", b"refreshSessions",
    b"connectionStatus", b"getParameter", b"hostInfo", b"logout", b"whatsmyuri",
}  # fmt: skip
"""What every server answers of itself."""
_STALE = {13388, 249, 377}
"""StaleConfig, StaleDbVersion, ShardInvalidatedForTargeting."""
TRIES = 10
_OF_A_SET = {
    "setName", "setVersion", "hosts", "primary", "me", "electionId", "secondary", "topologyVersion", "arbiters",
    "passives",
}  # fmt: skip


class Router:
    """Use as a context manager. Takes the commands of drivers and passes them on, on connections of its own each, to
    one mongod of a shard, under the names of the router that is in every such mongod: `find` becomes `clusterFind`. So
    targeting, shard versions, the merge of shards, transactions and shard-key updates are MongoDB's own.

    What differs from a mongos: `handlers` answer the commands that change the structure, by what a mongos would send to
    the shards and config servers. The router inside a mongod would end it at a write with the number of a session, and
    at some change streams, so `writes` and `streams` get these. It would read a snapshot as of the last moment of its
    own oplog, so it is told of the latest of all shards, as a mongos knows it that all clients use. Transactions of
    clients are refused. Cursors but those of streams cannot be killed, and end by themselves. Nobody has to log in.
    """

    def __init__(
        self, port: int, handlers: dict[str, Handler], writes: Handler, streams: MergedStreams, clock: Clock
    ) -> None:
        self._port, self._handlers, self._writes, self._streams = port, handlers, writes, streams
        self._clock = clock
        self._server = socket.create_server((LOOPBACK, 0))
        self._open: list[socket.socket] = [self._server]

    @property
    def uri(self) -> str:
        return f"mongodb://{LOOPBACK}:{self._server.getsockname()[1]}/"

    def __enter__(self) -> Self:
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(self, *error: object) -> None:
        for one in self._open:
            one.close()

    def _accept(self) -> None:
        try:
            while True:
                client, _ = self._server.accept()
                client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                self._open.append(client)
                threading.Thread(target=self._serve, args=(client,), daemon=True).start()
        except OSError:
            return

    def _serve(self, client: socket.socket) -> None:
        """One request after another, as drivers send them."""
        try:
            with client, socket.create_connection((LOOPBACK, self._port)) as server:
                server.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                while request := _message(client):
                    client.sendall(self._reply(request, server))
        except OSError:
            return

    def _reply(self, request: bytes, server: socket.socket) -> bytes:
        _, number, _, kind = _HEADER.unpack_from(request)
        if kind == _OP_QUERY:  # only a driver's first `hello`
            server.sendall(request)
            return _as_mongos(_message(server))
        name = request[_BODY + 5 : request.index(0, _BODY + 5)]
        if _OF_LOCAL in request:
            return _answer(number, _refusal(20, "Can't use 'local' database through mongos"))
        if b"\x08autocommit\x00" in request:
            return _answer(number, _refusal(20, "this router has no transactions"))
        if name.decode() in _STATEMENTS:
            return self._write(name, request, server)
        if name == b"aggregate" and b"\x03$changeStream\x00" in request:
            return _answer(number, self._handle("aggregate", request, self._streams.open))
        if name == b"getMore" and self._streams.has(command_in(request)["getMore"]):
            return _answer(number, self._handle("getMore", request, self._streams.more))
        if (routed := _ROUTED.get(name)) is not None:
            if b"\x02level\x00\x09\x00\x00\x00snapshot\x00" in request:
                self._clock.ask()
                request = _no_earlier(request, self._clock.time)
            return self._routed(_renamed(request, name, routed), request, server)
        if name in _ANY_SERVER:
            server.sendall(request)
            return _as_mongos(_message(server))
        return _answer(number, self._handle(name.decode(), request, self._handlers.get(name.decode())))

    def _write(self, name: bytes, request: bytes, server: socket.socket) -> bytes:
        number = _HEADER.unpack_from(request)[1]
        if b"\x12txnNumber\x00" in request:
            return _answer(number, self._handle(name.decode(), request, self._writes))
        self._handlers["enableSharding"](command_in(request)["$db"], {})
        return self._routed(_renamed(request, name, _ROUTED[name]), request, server)

    def _routed(self, routed: bytes, request: bytes, server: socket.socket) -> bytes:
        """Again where the router's table is an old one, as a mongos does it."""
        for _ in range(TRIES):
            server.sendall(routed)
            reply = _message(server)
            if b"errmsg" not in reply or command_in(reply).get("code") not in _STALE:
                break
            command = command_in(request)
            self._handlers["refresh"](command["$db"], {"name": next(iter(command.values()))})
        return reply

    @staticmethod
    def _handle(name: str, request: bytes, handler: Handler | None) -> Document:
        if handler is None:
            return _refusal(59, f"no such command: '{name}'")
        command = command_in(request)
        try:
            return {"ok": 1.0, **handler(command["$db"], command)}
        except PyMongoError as error:
            details: Any = getattr(error, "details", None)
            code = 6 if isinstance(error, ConnectionFailure) else 8  # HostUnreachable: a shard's
            return dict(details) if isinstance(details, Mapping) else _refusal(code, str(error))
        except Exception as error:  # a test must see it, and not a connection that ends
            return _refusal(8, repr(error))


def _message(source: socket.socket) -> bytes:
    """One message as a whole; empty at the end of the connection."""
    head = _exactly(source, 16)
    return head and head + _exactly(source, _HEADER.unpack(head)[0] - 16)


def _exactly(source: socket.socket, size: int) -> bytes:
    found = bytearray()
    while len(found) < size:
        if not (data := source.recv(size - len(found))):
            return b""
        found += data
    return bytes(found)


def _length(data: bytes, at: int) -> int:
    return int.from_bytes(data[at : at + 4], "little")


def command_in(request: bytes) -> Document:
    """The command of an OP_MSG, with the documents that came beside it."""
    size = _length(request, _BODY)
    command: Document = bson.decode(request[_BODY : _BODY + size])
    at = _BODY + size
    while at < len(request):  # a sequence of documents: its kind, its size, its name, and they
        end = at + 1 + _length(request, at + 1)
        start = request.index(0, at + 5) + 1
        command[request[at + 5 : start - 1].decode()] = bson.decode_all(request[start:end])
        at = end
    return command


def _no_earlier(request: bytes, time: Timestamp) -> bytes:
    """A read of a snapshot, of this moment or later, unless it says of which."""
    end = _BODY + _length(request, _BODY)
    command: Document = dict(bson.decode(request[_BODY:end], DEFAULT_RAW_BSON_OPTIONS))
    concern = dict(command["readConcern"])
    if "atClusterTime" in concern:
        return request
    concern["afterClusterTime"] = max(time, concern.get("afterClusterTime", time))
    body = bson.encode({**command, "readConcern": concern})
    _, number, answers, kind = _HEADER.unpack_from(request)
    size = len(request) - (end - _BODY) + len(body)
    return _HEADER.pack(size, number, answers, kind) + request[16:_BODY] + body + request[end:]


def _renamed(request: bytes, name: bytes, new: bytes) -> bytes:
    more, (size, number, answers, kind) = len(new) - len(name), _HEADER.unpack_from(request)
    length = (_length(request, _BODY) + more).to_bytes(4, "little")
    start = _BODY + 5
    return b"".join(
        (
            _HEADER.pack(size + more, number, answers, kind), request[16:_BODY], length, request[_BODY + 4 : start],
            new, request[start + len(name) :],
        )
    )  # fmt: skip


def _answer(number: int, said: Document) -> bytes:
    body = b"\x00" * 5 + bson.encode(said)
    return _HEADER.pack(16 + len(body), 0, number, _OP_MSG) + body


def _refusal(code: int, text: str) -> Document:
    return {"ok": 0.0, "errmsg": text, "code": code}


def _as_mongos(reply: bytes) -> bytes:
    """The answer to a `hello` says that it is a mongos; any other is passed on."""
    if not reply or (b"isWritablePrimary" not in reply and b"ismaster" not in reply):
        return reply
    _, number, answers, kind = _HEADER.unpack_from(reply)
    start = 16 + (20 if kind == _OP_REPLY else 5)
    size = _length(reply, start)
    said: Document = bson.decode(reply[start : start + size])
    said = {name: value for name, value in said.items() if name not in _OF_A_SET} | {"msg": "isdbgrid"}
    body = reply[16:start] + bson.encode(said) + reply[start + size :]
    return _HEADER.pack(16 + len(body), number, answers, kind) + body
