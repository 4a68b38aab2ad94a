"""For applications that write to Redis: change a key and note it for syncd, in one step.

    from syncd.outbox import Outbox

    sessions = Outbox(client, "sessions")            # the contract's name; redis.Redis or redis.asyncio.Redis
    sessions.hset("session:42", mapping={"user": "ada"})
    sessions.delete("session:41")

    with client.pipeline(transaction=True) as pipe:  # several keys, or where Redis forbids functions
        pipe.hset("session:42", "cart", "3").hset("session:43", "cart", "1")
        sessions.note(pipe, "session:42", "session:43")
        pipe.execute()

What the client returns is returned: await it where the client is of `redis.asyncio`. This module imports nothing, not
even the driver, and can be copied into an application.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any

FULL = "OUTBOXFULL"
"""The beginning of Redis's error while the outbox holds as many entries as the contract allows."""


class Outbox:
    """The outbox of one contract. As safe for threads as its client is."""

    def __init__(self, client: Any, contract: str) -> None:
        self._client = client
        self.stream = f"syncd:{{{contract}}}:outbox"

    def run(self, command: str, key: str | bytes, *args: Any) -> Any:
        """Any command that the library `syncd_outbox` has (`syncd/to_mongo/outbox/functions.lua`), on one key:
        `run("HINCRBY", "session:42", "visits", 1)`."""
        name = f"syncd_{command.lower().replace('.', '_')}"
        return self._client.fcall(name, 2, key, self.stream, *args)

    def note(self, pipe: Any, *keys: str | bytes, members: Iterable[Any] = (), deleted: bool = False) -> None:
        """Note in a MULTI that these keys were changed, or deleted, in it. `members`: of one key, those that were,
        where the contract makes a document of each."""
        op = {"op": "del"} if deleted else {}
        noted = [{"key": key, "member": member} for key in keys for member in members]
        for entry in noted or [{"key": key} for key in keys]:
            pipe.xadd(self.stream, {**entry, **op})

    def hset(
        self,
        key: str | bytes,
        field: Any = None,
        value: Any = None,
        *,
        mapping: Mapping[Any, Any] | None = None,
    ) -> Any:
        """HSET of one field, or of several."""
        pairs = {} if field is None else {field: value}
        pairs |= mapping or {}
        return self.run("HSET", key, *(part for pair in pairs.items() for part in pair))

    def hdel(self, key: str | bytes, *fields: Any) -> Any:
        """HDEL. Without its last field a hash is gone, and noted as deleted."""
        return self.run("HDEL", key, *fields)

    def hincrby(self, key: str | bytes, field: Any, amount: int = 1) -> Any:
        """HINCRBY."""
        return self.run("HINCRBY", key, field, amount)

    def set(self, key: str | bytes, value: Any, *options: Any) -> Any:
        """SET, with options such as "PX", 60000."""
        return self.run("SET", key, value, *options)

    def json_set(self, key: str | bytes, path: str, value: Any) -> Any:
        """JSON.SET of what `json.dumps` takes."""
        return self.run("JSON.SET", key, path, json.dumps(value))

    def json_del(self, key: str | bytes, path: str = "$") -> Any:
        """JSON.DEL."""
        return self.run("JSON.DEL", key, path)

    def sadd(self, key: str | bytes, *members: Any) -> Any:
        """SADD."""
        return self.run("SADD", key, *members)

    def srem(self, key: str | bytes, *members: Any) -> Any:
        """SREM."""
        return self.run("SREM", key, *members)

    def zadd(self, key: str | bytes, scores: Mapping[Any, float]) -> Any:
        """ZADD, of members with their scores."""
        return self.run("ZADD", key, *(part for member, score in scores.items() for part in (score, member)))

    def zrem(self, key: str | bytes, *members: Any) -> Any:
        """ZREM."""
        return self.run("ZREM", key, *members)

    def rpush(self, key: str | bytes, *values: Any) -> Any:
        """RPUSH."""
        return self.run("RPUSH", key, *values)

    def expire(self, key: str | bytes, seconds: int) -> Any:
        """EXPIRE."""
        return self.run("EXPIRE", key, seconds)

    def delete(self, key: str | bytes) -> Any:
        """DEL of one key."""
        return self.run("DEL", key)
