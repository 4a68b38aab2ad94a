"""A small proxy on the wire before a replica set that says of itself what a mongos says."""

from __future__ import annotations

import socket
import struct
import threading
from typing import Any, Self

import bson

from syncd.embedded import LOOPBACK

_HEADER = struct.Struct("<iiii")
_OP_REPLY, _OP_MSG = 1, 2013
_OF_A_SET = {
    "setName", "setVersion", "hosts", "primary", "me", "electionId", "secondary", "topologyVersion", "arbiters",
    "passives",
}  # fmt: skip


class FakeMongos:
    """Use as a context manager. Only the answer to `hello` is another one: it shards nothing."""

    def __init__(self, port: int) -> None:
        self._port = port
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
                server = socket.create_connection((LOOPBACK, self._port))
                self._open += [client, server]
                threading.Thread(target=self._pass, args=(client, server), daemon=True).start()
                threading.Thread(target=self._answer, args=(server, client), daemon=True).start()
        except OSError:
            return

    @staticmethod
    def _pass(source: socket.socket, target: socket.socket) -> None:
        try:
            while data := source.recv(65_536):
                target.sendall(data)
        except OSError:
            pass
        finally:
            target.close()

    def _answer(self, source: socket.socket, target: socket.socket) -> None:
        try:
            while (head := _exactly(source, 16)) and (body := _exactly(source, _HEADER.unpack(head)[0] - 16)):
                target.sendall(_changed(head, body))
        except OSError:
            pass
        finally:
            target.close()


def _exactly(source: socket.socket, size: int) -> bytes:
    found = b""
    while len(found) < size:
        if not (data := source.recv(size - len(found))):
            return b""
        found += data
    return found


def _changed(head: bytes, body: bytes) -> bytes:
    """The first document of a reply begins behind 20 bytes of the old kind, or behind 5 of the new."""
    _, number, answers, kind = _HEADER.unpack(head)
    start = {_OP_REPLY: 20, _OP_MSG: 5}.get(kind)
    if start is None or (b"isWritablePrimary" not in body and b"ismaster" not in body):
        return head + body
    size = int.from_bytes(body[start : start + 4], "little")
    said: dict[str, Any] = bson.decode(body[start : start + size])
    said = {name: value for name, value in said.items() if name not in _OF_A_SET} | {"msg": "isdbgrid"}
    body = body[:start] + bson.encode(said) + body[start + size :]
    return _HEADER.pack(16 + len(body), number, answers, kind) + body
