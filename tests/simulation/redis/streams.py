"""Commands of the model for streams and JSON documents."""

from __future__ import annotations

import re
from typing import Any

import orjson

from tests.simulation.redis.commands import COMMANDS, Args, command
from tests.simulation.redis.data import JSON, OK, STREAM, Data, ReplyError, Stream

__all__ = ["COMMANDS"]


def stream_id(text: bytes, missing: int = 0) -> tuple[int, int]:
    """An id as numbers."""
    if text == b"-":
        return (0, 0)
    if text == b"+":
        return (2**64, 0)
    first, _, second = text.partition(b"-")
    return int(first), int(second) if second else missing


@command("XADD")
def _xadd(data: Data, args: Args) -> Any:
    if args[1] != b"*":
        raise ReplyError("ERR the model takes no ids")
    stream: Stream = data.change(args[0], STREAM)
    milliseconds, sequence = stream.last
    stream.last = (data.now, 0) if data.now > milliseconds else (milliseconds, sequence + 1)
    stream.added += 1
    name = b"%d-%d" % stream.last
    stream.entries[name] = args[2:]
    return name


@command("XLEN")
def _xlen(data: Data, args: Args) -> Any:
    stream = data.of(args[0], STREAM)
    return 0 if stream is None else len(stream.entries)


@command("XDEL")
def _xdel(data: Data, args: Args) -> Any:
    if data.of(args[0], STREAM) is None:
        return 0
    stream = data.change(args[0], STREAM)
    return sum(stream.entries.pop(entry, None) is not None for entry in args[1:])


@command("XRANGE")
def _xrange(data: Data, args: Args) -> Any:
    stream = data.of(args[0], STREAM)
    if stream is None:
        return []
    first = stream_id(args[1].lstrip(b"("))
    last = stream_id(args[2], 2**64)
    found = [
        [name, fields]
        for name, fields in stream.entries.items()
        if first <= stream_id(name) <= last and not (args[1][:1] == b"(" and stream_id(name) == first)
    ]
    return found[: int(args[4])] if len(args) > 4 else found


@command("XREAD")
def _xread(data: Data, args: Args) -> Any:
    """Of one stream. Who waits for entries asks again: see link.py."""
    at = [arg.upper() for arg in args].index(b"STREAMS")
    most = int(args[args.index(b"COUNT") + 1])
    found = _xrange(data, [args[at + 1], b"(" + args[at + 2], b"+"])[:most]
    return [[args[at + 1], found]] if found else None


@command("XTRIM")
def _xtrim(data: Data, args: Args) -> Any:
    """By MINID alone."""
    if data.of(args[0], STREAM) is None:
        return 0
    stream, least = data.change(args[0], STREAM), stream_id(args[2])
    return sum(stream.entries.pop(name) is not None for name in [*stream.entries] if stream_id(name) < least)


@command("XINFO")
def _xinfo(data: Data, args: Args) -> Any:
    """Of STREAM."""
    stream = data.of(args[1], STREAM)
    if stream is None:
        raise ReplyError("ERR no such key")
    last = b"%d-%d" % stream.last
    return [b"length", len(stream.entries), b"last-generated-id", last, b"entries-added", stream.added]


_QUOTED = re.compile(r"\$\[(['\"])(.*)\1\]")


def _json_path(path: bytes) -> list[str]:
    if quoted := _QUOTED.fullmatch(path.decode()):
        return [quoted[2]]
    return path.decode().removeprefix("$").lstrip(".").split(".") if path not in (b"$", b".") else []


@command("JSON.SET")
def _json_set(data: Data, args: Args) -> Any:
    value, path = orjson.loads(args[2]), _json_path(args[1])
    document = data.of(args[0], JSON)
    if not path:
        entry = data.find(args[0])
        data.put(args[0], JSON, value, None if entry is None else entry.expires)
        return OK
    if document is None:
        raise ReplyError("ERR new objects must be created at the root")
    document = data.change(args[0], JSON)
    for name in path[:-1]:
        document = document.get(name) if isinstance(document, dict) else None
    if not isinstance(document, dict):
        return None
    document[path[-1]] = value
    return OK


@command("JSON.DEL")
def _json_del(data: Data, args: Args) -> Any:
    path = _json_path(args[1]) if len(args) > 1 else []
    if data.of(args[0], JSON) is None:
        return 0
    if not path:
        return data.remove(args[0])
    document = data.change(args[0], JSON)
    for name in path[:-1]:
        document = document.get(name) if isinstance(document, dict) else None
    return int(isinstance(document, dict) and document.pop(path[-1], None) is not None)


@command("JSON.GET")
def _json_get(data: Data, args: Args) -> Any:
    document = data.of(args[0], JSON)
    return None if document is None else orjson.dumps(document)
