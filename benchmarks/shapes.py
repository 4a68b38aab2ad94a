"""The other shapes of a contract that are measured beside the plain hash, each with its own rules of what is right."""

from __future__ import annotations

import json
import struct
from typing import Any

from pymongo import MongoClient

from benchmarks.measured.workload import COLLECTION, DATABASE, FIELDS, STATES, Document, Shape

DIMS = 256


class Json(Shape):
    """The same eight fields as a JSON document."""

    def version(self, number: int) -> tuple[str, ...]:
        """`v` alone."""
        return ("JSON.GET", self.key(number), ".v")

    def whole(self, number: int) -> tuple[str, ...]:
        """The whole text."""
        return ("JSON.GET", self.key(number))

    def shown(self, reply: Any) -> dict[Any, Any]:
        """The parsed text."""
        return {} if reply is None else dict(json.loads(reply))

    def right(self, source: Document) -> dict[Any, Any]:
        """Numbers stay numbers."""
        return {name: source[name] for name in FIELDS}

    def type(self) -> str:
        """JSON."""
        return "json"


class Array(Shape):
    """An array of eight elements as a list, the first of which is the version; every update replaces it."""

    def document(self, number: int) -> Document:
        """With the array."""
        return {**super().document(number), "recent": self._recent(number, 1)}

    def changed(self, number: int, version: int) -> Document:
        """Every update sets the array."""
        return {**super().changed(number, version), "recent": self._recent(number, version)}

    def version(self, number: int) -> tuple[str, ...]:
        """The first element."""
        return ("LINDEX", self.key(number), "0")

    def whole(self, number: int) -> tuple[str, ...]:
        """All elements."""
        return ("LRANGE", self.key(number), "0", "-1")

    def shown(self, reply: Any) -> dict[Any, Any]:
        """By their places."""
        return dict(enumerate(reply))

    def right(self, source: Document) -> dict[Any, Any]:
        """As text."""
        return {at: str(element).encode() for at, element in enumerate(source["recent"])}

    def contract(self) -> str:
        """With one value instead of fields."""
        return super().contract().replace(f"fields: {self.fields()}", "value: {from: recent}")

    def type(self) -> str:
        """A list."""
        return "list"

    @staticmethod
    def _recent(number: int, version: int) -> list[Any]:
        return [version, *(f"{number}-{at}" for at in range(7))]


class Filtered(Shape):
    """A third of the documents matches the filter, and every update moves each document in or out, or keeps it out."""

    def document(self, number: int) -> Document:
        """With the state that `changed` goes on from."""
        return {**super().document(number), "status": self._state(number, 1)}

    def changed(self, number: int, version: int) -> Document:
        """Every update sets the state."""
        return {**super().changed(number, version), "status": self._state(number, version)}

    def visible(self, number: int, version: int) -> bool:
        """Only in one of the states."""
        return self._state(number, version) == STATES[0]

    def right(self, source: Document) -> dict[Any, Any]:
        """No key in any other state."""
        return super().right(source) if source["status"] == STATES[0] else {}

    def source(self) -> str:
        """With the filter."""
        return f"{{collection: {DATABASE}.{COLLECTION}, filter: {{status: {STATES[0]}}}}}"

    @staticmethod
    def _state(number: int, version: int) -> str:
        return STATES[(number + version) % len(STATES)]


class Expression(Shape):
    """One more field, made by an expression out of two others."""

    def right(self, source: Document) -> dict[Any, Any]:
        """With the joined text."""
        return {**super().right(source), b"label": f"{source['name']} {source['status']}".encode()}

    def fields(self) -> str:
        """All by name, for a mapping cannot be half a list."""
        plain = ", ".join(f"{name}: {name}" for name in FIELDS)
        return f"""{{{plain}, label: {{expr: "join(' ', [name, status])"}}}}"""


class Vector(Shape):
    """One more field: 256 numbers, of which every fourth update sets all."""

    def document(self, number: int) -> Document:
        """With the vector."""
        return {**super().document(number), "embedding": self._vector(number, 1)}

    def changed(self, number: int, version: int) -> Document:
        """Every fourth update replaces the vector."""
        values = super().changed(number, version)
        if (number + version) % 4 == 0:
            values["embedding"] = self._vector(number, version)
        return values

    def right(self, source: Document) -> dict[Any, Any]:
        """With the bytes of 32-bit floats."""
        return {**super().right(source), b"embedding": struct.pack(f"<{DIMS}f", *source["embedding"])}

    def fields(self) -> str:
        """All by name, for a mapping cannot be half a list."""
        plain = ", ".join(f"{name}: {name}" for name in FIELDS)
        return f"{{{plain}, embedding: {{from: embedding, type: vector, dims: {DIMS}}}}}"

    @staticmethod
    def _vector(number: int, version: int) -> list[float]:
        """Multiples of 1/256, which a 32-bit float holds exactly."""
        start = number * 31 + version * 7
        return [(start + at) % 509 / 256 - 1 for at in range(DIMS)]


class Indexed(Vector):
    """The same with a search index, which Redis keeps as keys are written."""

    def index(self) -> str:
        """Exact search over the vector, and one tag."""
        attributes = f"dims: {DIMS}, algorithm: flat, distance_metric: cosine, datatype: float32"
        return f"""\
    index:
      name: bench
      fields:
        - {{name: status, type: tag}}
        - {{name: embedding, type: vector, attrs: {{{attributes}}}}}
"""


class Members(Shape):
    """No key of its own: a member of one of fifty sorted sets, with its version as the score."""

    BOARDS = 50

    def document(self, number: int) -> Document:
        """With its board."""
        return {**super().document(number), "board": number % self.BOARDS}

    def key(self, number: int) -> str:
        """The board."""
        return f"{self.prefix}:{number % self.BOARDS}"

    def version(self, number: int) -> tuple[str, ...]:
        """The score."""
        return ("ZSCORE", self.key(number), str(number))

    def whole(self, number: int) -> tuple[str, ...]:
        """The score is all."""
        return self.version(number)

    def shown(self, reply: Any) -> dict[Any, Any]:
        """By the name of the field."""
        return {} if reply is None else {"v": int(reply)}

    def right(self, source: Document) -> dict[Any, Any]:
        """The version."""
        return {"v": source["v"]}

    def keys(self, documents: int) -> int:
        """The boards."""
        return min(documents, self.BOARDS)

    def counts(self, key: bytes) -> tuple[str | bytes, ...]:
        """Members."""
        return ("ZCARD", key)

    def projection(self) -> str:
        """A board for each value of a field."""
        return f'{{projection: board, type: zset, key: "{self.prefix}:{{board}}", member: "{{_id}}", score: v}}\n'


class Elements(Shape):
    """A hash for each of five elements of an array; every update changes one of them."""

    COUNT = 5
    READ = """\
local found = {}
for at, key in ipairs(KEYS) do
  local said = redis.call('HGETALL', key)
  for of = 1, #said, 2 do
    found[#found + 1] = at - 1 .. ' ' .. said[of]
    found[#found + 1] = said[of + 1]
  end
end
return found"""

    def document(self, number: int) -> Document:
        """With the array."""
        return {**super().document(number), "parts": [self._part(number, at, 1) for at in range(self.COUNT)]}

    def changed(self, number: int, version: int) -> Document:
        """The first element."""
        return {"v": version, "parts.0": self._part(number, 0, version)}

    def version(self, number: int) -> tuple[str, ...]:
        """Of the first element."""
        return ("HGET", f"{self.key(number)}:0", "v")

    def whole(self, number: int) -> tuple[str, ...]:
        """All of its hashes."""
        return ("EVAL", self.READ, str(self.COUNT), *(f"{self.key(number)}:{at}" for at in range(self.COUNT)))

    def right(self, source: Document) -> dict[Any, Any]:
        """By element and field."""
        return {
            f"{part['id']} {name}".encode(): str(value).encode()
            for part in source["parts"]
            for name, value in (("name", source["name"]), ("v", part["v"]), ("text", part["text"]))
        }

    def held(self, shown: dict[Any, Any]) -> int:
        """One an element."""
        return len({name.split()[0] for name in shown})

    def keys(self, documents: int) -> int:
        """One an element."""
        return documents * self.COUNT

    def projection(self) -> str:
        """A field of the document beside those of the element."""
        fields = "{name: name, v: parts.v, text: parts.text}"
        key = f"{self.prefix}:{{_id}}:{{parts.id}}"
        return f'{{projection: part, type: hash, each: parts, key: "{key}", fields: {fields}}}\n'

    @staticmethod
    def _part(number: int, at: int, version: int) -> Document:
        return {"id": at, "v": version, "text": f"part {at} of {number}, as it is read"}


class Joined(Shape):
    """One more field, of a document in another collection; a thousand customers have all the orders."""

    CUSTOMERS = 1_000

    def prepare(self, mongo_uri: str) -> None:
        """The other collection, and the index that a join needs."""
        with MongoClient[Document](mongo_uri) as client:
            customers = [{"_id": number, "name": f"customer {number}"} for number in range(self.CUSTOMERS)]
            client[DATABASE]["customers"].insert_many(customers)
            client[DATABASE][COLLECTION].create_index([("customer_id", 1), ("_id", 1)])

    def document(self, number: int) -> Document:
        """With the customer."""
        return {**super().document(number), "customer_id": number % self.CUSTOMERS}

    def right(self, source: Document) -> dict[Any, Any]:
        """With the name."""
        return {**super().right(source), b"customer": f"customer {source['customer_id']}".encode()}

    def source(self) -> str:
        """With the join."""
        join = f"{{collection: {DATABASE}.customers, on: {{customer_id: _id}}, fields: [name]}}"
        return f"{{collection: {DATABASE}.{COLLECTION}, with: {{who: {join}}}}}"

    def fields(self) -> str:
        """All by name, for a mapping cannot be half a list."""
        return f"{{{', '.join(f'{name}: {name}' for name in FIELDS)}, customer: who.name}}"


SHAPES: tuple[Shape, ...] = (
    Shape(),
    Json("json"),
    Array("list"),
    Filtered("filter"),
    Expression("expr"),
    Vector("vector"),
    Indexed("vector and index"),
    Members("members"),
)
"""In the order in which they are shown; the first is what the others stand beside."""
