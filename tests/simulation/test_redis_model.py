"""The model of Redis answers as a real one does, and holds the same keys afterwards."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterator
from typing import Any

import orjson
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from redis import Redis, ResponseError

from syncd.embedded import RedisServer
from syncd.stores.redis.functions import PROTOCOL, library_source
from syncd.to_mongo.outbox.functions import source as outbox_source
from tests.simulation.redis.server import RedisModel
from tests.support.servers.shared import connect

BASE = "syncd:{films}:"
LEASE, POSITION, DEAD, STALE = (BASE + name for name in ("lease", "position", "dead", "stale"))
MAP, OWNERS, LETTERS, MARKS, CHANGED, SYNCED, OUTBOX = (
    BASE + name for name in ("keys:p:t", "owners:p:t", "letters", "marks", "changed", "synced", "outbox")
)
KEYS = ("film:1", "film:2", "film:3")
ROWS = json.dumps([
    {"whole": True, "ttl": "0", "names": ["a", "b"], "removed": []},
    {"whole": False, "ttl": "0", "names": ["a"], "removed": ["b"]},
    {"whole": True, "ttl": "50000", "names": ["a", "b"], "removed": []},
])  # fmt: skip
CLAIM = {
    "name": "key film:{_id}", "projection": "p", "type": "hash", "by_id": True, "pattern": "^film:.*$",
}  # fmt: skip

key = st.sampled_from(KEYS)
value = st.sampled_from(["1", "2", "three", ""])
ident = st.sampled_from(["1", "2"])
moment = st.sampled_from(["0000000000000001", "0000000000000002"])
document = st.sampled_from(['{"a":1,"b":{"c":2}}', '{"a":"x"}', '{"b":[1,2]}'])


def op(code: str, *parts: Any, on: Any = None) -> Any:
    """An operation: the key that it names or None, its code, and its arguments."""
    drawn = [part if isinstance(part, st.SearchStrategy) else st.just(part) for part in parts]
    return st.tuples(on if on is not None else st.none(), st.just(code), st.tuples(*drawn))


dead_letter = ("projection", "p", "id", ident, "reason", value)
operations = st.one_of(
    op("=1", value, value, on=key),
    op("=2", value, on=key),
    op("=3", value, value, on=key),
    op("h", "0", "4", "a", value, "c", value, on=key),
    op("h", "-1", "2", "a", value, on=key),
    op("H", "0", "2", "a", value, "1", "b", on=key),
    op("j", st.sampled_from(["0", "90000"]), document, on=key),
    op("J", "0", "2", "$.a", "7", "1", "$.b", on=key),
    op("J", "0", "2", "$.b.c", "8", "0", on=key),
    op("s", "0", value, on=key),
    op("d", st.sampled_from(["hash", "ReJSON-RL", "string"]), on=key),
    op("g", "hash", "1", OWNERS, on=key),
    op("m", MAP, OWNERS, ident, moment, on=key),
    op("o", "hash", MAP, OWNERS, st.sampled_from(["", "0000000000000001 1"]), on=key),
    op("r", MAP, OWNERS, ident),
    op("x", LETTERS, st.sampled_from(["", *KEYS]), st.sampled_from(["0", "2", "-2"]), "6", *dead_letter),
    op("y", LETTERS, "1", st.sampled_from(["1-1", "5-0"])),
    op("t", MARKS, key, "0"),
    op("c", CHANGED, "2", ident, ident),
    op("b", CHANGED, "3", BASE + "digest:1", ident, value),
)
MEMBERS, DEADLINES = BASE + "members:b:t", BASE + "deadlines:b:t"
score = st.sampled_from(["1", "2.5", "-inf", "7"])
memberships = st.sampled_from(
    ["[]", '["board:a","1"]', '["board:a","2"]', '["board:a","1","board:b","1"]', '["board:b","2"]']
)
_ALL = (MEMBERS, ident, "b 1", "zset", memberships, "1", score)
of_members = st.one_of(
    op("mb", MEMBERS, "b", st.sampled_from(["1", "-1"])),
    op("ma", *_ALL),
    op("ma", *_ALL),
    op("mx", DEADLINES, st.sampled_from(["0", "1", "99999999999999"]), *_ALL),
    op("mp", MEMBERS, ident, "b 1", LETTERS, "zset", "1", score),
    op("ml", MEMBERS, ident, "b 1"),
    op("mz", DEADLINES, ident),
    op("ms", MEMBERS, LETTERS, "b 1", ident, "board:a", "1"),
    op("mn", MEMBERS),
    op("mw", MEMBERS),
    op("mo", DEADLINES),
)
member_calls = st.one_of(
    st.tuples(st.just("apply"), st.lists(of_members, min_size=1, max_size=5), st.just("")),
    st.tuples(st.just("apply"), st.lists(of_members, min_size=1, max_size=5), st.just("")),
    st.tuples(st.just("board"), st.sampled_from(["begin", "end"]), st.sampled_from(["", "2.5"])),
    st.tuples(st.just("due")),
    st.tuples(st.just("plain"), st.just("ZADD"), st.just("board:a"), score, st.just("stranger")),
    st.tuples(st.just("plain"), st.just("ZREM"), st.just("board:a"), ident),
    st.tuples(st.just("plain"), st.just("SET"), st.just("board:b"), value),
    st.tuples(st.just("plain"), st.just("ZADD"), st.just(DEADLINES), st.just("1"), ident),
    st.tuples(st.just("plain"), st.just("DEL"), st.sampled_from(["board:a", "board:b", MEMBERS])),
)
owner = st.sampled_from(["one", "two"])
calls = st.one_of(
    st.tuples(st.just("apply"), st.lists(operations, min_size=1, max_size=5), st.sampled_from(["", "hash,string"])),
    st.tuples(st.just("apply"), st.lists(operations, min_size=1, max_size=5), st.just("")),
    st.tuples(st.just("late"), st.lists(operations, max_size=2), st.just("")),
    st.tuples(st.just("lease"), owner),
    st.tuples(st.just("renew"), st.sampled_from([0, 7])),
    st.tuples(st.just("release")),
    st.tuples(st.just("forget"), st.sampled_from(["sweep", "keep", "pause"])),
    st.tuples(st.just("foreign"), st.sampled_from(["more", "done", "adopt"]), key),
    st.tuples(st.just("merge"), key, value),
    st.tuples(st.just("outbox"), st.just("HSET"), key, st.just("a"), value),
    st.tuples(st.just("outbox"), st.just("HDEL"), key, st.just("a")),
    st.tuples(st.just("outbox"), st.sampled_from(["DEL", "PERSIST"]), key),
    st.tuples(st.just("done"), st.sampled_from(["", "9000000000000-0"])),
    st.tuples(st.just("plain"), st.just("XREAD"), *map(st.just, ("COUNT", "9", "STREAMS", OUTBOX, "0-0"))),
    st.tuples(st.just("plain"), st.just("ZRANGEBYSCORE"), *map(st.just, (MARKS, "1", "+inf", "LIMIT", "0", "1"))),
    st.tuples(st.just("plain"), st.sampled_from(["DEL", "PERSIST"]), key),
    st.tuples(st.just("plain"), st.just("HSET"), key, st.just("z"), value),
    st.tuples(st.just("plain"), st.just("SADD"), key, value),
    st.tuples(st.just("plain"), st.just("DEL"), st.sampled_from([LEASE, POSITION, OWNERS, STALE])),
)  # fmt: skip


class Side:
    """One of the two, called in the same way."""

    def __init__(self, execute: Any) -> None:
        self.execute = execute
        self.lease, self.number = "nobody:1", 0

    def call(self, call: tuple[Any, ...]) -> Any:
        """What it answers, without numbers that are moments."""
        return neutral(getattr(self, f"_{call[0]}")(*call[1:]))

    def _function(self, name: str, keys: list[str], *args: Any) -> Any:
        return self.execute("FCALL", name, len(keys), *keys, PROTOCOL, *args)

    def _lease(self, name: str) -> Any:
        wish = {
            "seen": self.execute("HGET", "syncd:claims", "version") or "0", "taken": [], "dropped": [],
            "claims": [CLAIM], "draw": 0, "version": "v1", "kind": "mongo", "force": False,
        }  # fmt: skip
        wish["seen"] = text(wish["seen"])
        reply = self._function("syncd_lease", [LEASE, POSITION], name, 100_000, 1, 1, json.dumps(wish))
        if reply[0] == b"held":
            self.lease, self.number = reply[1].decode(), 0
        return reply

    def _apply(self, chosen: list[Any], also: str, before: int | None = None) -> Any:
        keys = [LEASE, POSITION, DEAD, STALE, *(one[0] for one in chosen if one[0] is not None)]
        args = [part for one in chosen for part in (one[1], *one[2])]
        number = self.number + 1
        fields = ["time", f"{number}:0", "mark", "1:0", "call", number]
        reply = self._function(
            "syncd_apply", keys, self.lease, 100_000, also, ROWS, self.number if before is None else before,
            len(fields), *fields, *args,
        )  # fmt: skip
        if isinstance(reply, list) and reply[0] == b"ok":
            self.number = number
        return reply

    def _late(self, chosen: list[Any], also: str) -> Any:
        return self._apply(chosen, also, before=self.number + 7)

    def _renew(self, ahead: int) -> Any:
        return self._function(
            "syncd_renew", [LEASE, POSITION], self.lease, 100_000, "call", self.number + ahead
        )

    def _release(self) -> Any:
        return self._function("syncd_release", [LEASE, POSITION], self.lease)

    def _forget(self, then: str) -> Any:
        return self._function("syncd_forget", [LEASE, POSITION], self.lease, then)

    def _foreign(self, word: str, name: str) -> Any:
        named = [name] if word == "more" else []
        return self._function(
            "syncd_foreign", [LEASE, POSITION], self.lease, 100_000, "film:{_id}", word, *named
        )

    def _merge(self, name: str, said: str) -> Any:
        read = self._function(
            "syncd_read_state",
            [LEASE, POSITION, SYNCED, name],
            self.lease,
            100_000,
            "hash",
            1_000_000,
            "merge",
        )
        if not isinstance(read, list) or read[0] != b"ok":
            return read
        seen = read[:3] + read[4:]  # without the microseconds
        change = ["h", "4", "0", "2", "a", said] if said else ["-", "0"]
        wanted = text(read[-2] or b"")
        reply = self._function(
            "syncd_merge", [LEASE, POSITION, MARKS, SYNCED, name], self.lease, 100_000, "hash", "1:0",
            wanted, "", "=", *change,
        )  # fmt: skip
        return [seen, reply]

    def _outbox(self, name: str, key: str, *args: str) -> Any:
        return self.execute("FCALL", f"syncd_{name.lower()}", 2, key, OUTBOX, *args)

    def _done(self, keep_from: str) -> Any:
        keys = [LEASE, POSITION, DEAD, LETTERS, OUTBOX]
        return self._function("syncd_done_state", keys, self.lease, 100_000, keep_from, "0", 1, "p 1")

    def _board(self, word: str, bar: str) -> Any:
        said = (MEMBERS, "b", "1", "board:a", word, bar)
        return self._function("syncd_board", [LEASE, POSITION], self.lease, *said)

    def _due(self) -> Any:
        return self._function("syncd_take_due", [LEASE, POSITION], self.lease, MEMBERS, DEADLINES, "1")

    def _plain(self, *args: str) -> Any:
        return self.execute(*args)


def text(reply: Any) -> str:
    return reply.decode() if isinstance(reply, bytes) else str(reply)


def neutral(reply: Any) -> Any:
    """Moments, and numbers that grow with time, are the clock's and not the server's."""
    if isinstance(reply, list | tuple):
        return [neutral(part) for part in reply]
    if isinstance(reply, dict):
        return {neutral(name): neutral(part) for name, part in reply.items()}
    if isinstance(reply, Exception):
        return re.sub(r" script: .*$", "", re.sub(r"^ERR (user_\w+:|ERR )?", "", str(reply)))[:60]
    said = text(reply) if reply is not None else None
    return said if said is None else re.sub(r"\d{9,}(-\d+)?", "#", said)


def contents(execute: Any) -> dict[str, Any]:
    """All keys, with what they hold."""
    found = {}
    for name in sorted(execute("SCAN", "0", "COUNT", "1000")[1]):
        kind, shown = text(execute("TYPE", name)), text(name)
        reads = {
            "hash": ("HGETALL", name), "string": ("GET", name), "set": ("SMEMBERS", name),
            "ReJSON-RL": ("JSON.GET", name), "stream": ("XRANGE", name, "-", "+"),
            "zset": ("ZRANGE", name, "0", "-1", "WITHSCORES"),
        }  # fmt: skip
        held = execute(*reads[kind])
        if kind == "hash":
            held = dict(zip(held[::2], held[1::2], strict=True))
            held = {name: orjson.loads(part) if part[:1] == b"{" else part for name, part in held.items()}
        elif kind == "set":
            held = sorted(held)
        elif kind == "ReJSON-RL":
            held = orjson.loads(held)
        found[shown] = kind, neutral(held), execute("PTTL", name) > 0
    return found


@pytest.fixture(scope="module")
def server() -> Iterator[Redis]:
    with RedisServer() as own, connect(own.url) as client:
        for source in (library_source(), outbox_source()):
            client.execute_command("FUNCTION LOAD", "REPLACE", source)
        yield client


@given(st.lists(calls, min_size=3, max_size=25))
@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
def test_the_model_answers_as_redis_does(server: Redis, chosen: list[tuple[Any, ...]]) -> None:
    """promises hold in the model as in Redis: the same calls of syncd's functions get the same replies, and leave the
    same keys."""
    compare(server, chosen)


@given(st.lists(member_calls, min_size=3, max_size=25))
@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
def test_the_same_of_members(server: Redis, chosen: list[tuple[Any, ...]]) -> None:
    """promises hold in the model as in Redis: the same of documents that share keys, of boards and of deadlines."""
    compare(server, chosen)


def compare(server: Redis, chosen: list[tuple[Any, ...]]) -> None:
    """Both sides, call by call."""
    pool = server.connection_pool
    connection = pool.get_connection()

    def real(*args: Any) -> Any:
        connection.send_command(*args)
        try:
            return connection.read_response()
        except ResponseError as error:
            return error

    model = RedisModel(lambda: round(time.time() * 1000))
    for source in (library_source(), outbox_source()):
        model.load(source.encode())

    def modelled(*args: Any) -> Any:
        return model.execute([part if isinstance(part, bytes) else str(part).encode() for part in args])

    try:
        real("FLUSHALL")
        sides = Side(real), Side(modelled)
        for call in [("lease", "one"), *chosen]:
            theirs, ours = (side.call(call) for side in sides)
            assert ours == theirs, call
        assert contents(modelled) == contents(real)
    finally:
        pool.release(connection)
