"""What applications do on both sides. Every value is written once."""

from __future__ import annotations

from typing import Any

import orjson

from tests.simulation.both.contracts import KINDS, PREFIX
from tests.simulation.both.world import BothWorld
from tests.simulation.contracts import COLLECTION, NAME
from tests.simulation.mongo.oplog import Document, described

IDS: tuple[Any, ...] = (1, 2, "a")
OUTBOX = f"syncd:{{{NAME}}}:outbox".encode()


class BothWorkload:
    """Writes documents, and keys through the outbox's functions."""

    def __init__(self, world: BothWorld) -> None:
        self._world, self._random = world, world.random
        self._kind = KINDS[world.kind]
        self._values = 0
        self.lags = self._random.random() < 0.3

    def write(self) -> None:
        """One change of one side."""
        document_id = self._random.choice(IDS)
        if self._random.random() < 0.5:
            self._write_document(document_id)
        else:
            self._write_key(f"{PREFIX}{document_id}".encode())

    def noise(self) -> None:
        """Something that is of no collection."""
        oplog = self._world.mongo.oplog
        oplog.note("noop", "", None, None, None)
        oplog.commit()

    def _value(self, side: str) -> str:
        self._values += 1
        return f"{side}{self._values}"

    def _some(self) -> list[str]:
        """One field, or two."""
        fields = self._kind.fields
        return sorted(self._random.sample(fields, min(len(fields), 1 + self._random.randrange(2))))

    def _write_document(self, document_id: Any) -> None:
        oplog, what = self._world.mongo.oplog, self._random.random()
        before = oplog.current.get((COLLECTION, document_id))
        after: Document | None = None
        if before is None:
            op, after = (
                "insert",
                {"_id": document_id, "own": "m"} | {n: self._value("m") for n in self._some()},
            )
        elif what < 0.15:
            op = "delete"
        else:
            op, after = "update", {**before, **{name: self._value("m") for name in self._some()}}
            if what < 0.3 and len(self._kind.fields) > 1:
                after.pop(self._random.choice(self._kind.fields), None)
        description = described(before or {}, after or {}) if op == "update" else None
        self._world.note(f"mongo {op} {document_id} {after}")
        oplog.note(op, COLLECTION, document_id, after, description)
        if not self.lags or self._random.random() < 0.4:
            oplog.commit()

    def _write_key(self, key: bytes) -> None:
        what, redis = self._random.random(), self._world.redis
        there = redis.data.find(key) is not None
        if there and what < 0.15:
            said: list[bytes] = [b"DEL"]
        elif there and what < 0.25 and self._kind.type == "hash":
            said = [b"HDEL", self._random.choice(self._kind.fields).encode()]
        else:
            values = {name: self._value("r") for name in self._some()}
            said = self._command(values, is_there=there)
        name = b"syncd_" + said[0].lower().replace(b".", b"_")
        reply = redis.execute([b"FCALL", name, b"2", key, OUTBOX, *said[1:]])
        self._world.note(f"application {said} {key!r} -> {reply!r}")

    def _command(self, values: dict[str, str], *, is_there: bool) -> list[bytes]:
        if self._kind.type == "string":
            return [b"SET", values["value"].encode()]
        if self._kind.type == "hash":
            if not is_there and self._random.random() < 0.3:
                values = {"own": "r", **values}
            return [b"HSET", *(part.encode() for pair in values.items() for part in pair)]
        if not is_there:
            return [b"JSON.SET", b"$", orjson.dumps({"own": "r", **values})]
        name, value = next(iter(values.items()))
        return [b"JSON.SET", f"$.{name}".encode(), orjson.dumps(value)]
