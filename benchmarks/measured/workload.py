"""The data, the changes and the projection that every system must produce.

A document has an integer `_id` and eight fields, about 300 bytes of BSON. `v` counts its versions from 1. All
values are such that any sensible text form of them is the same (no dates, no booleans, no whole doubles),
and short enough for Redis' compact form of a hash (64 bytes each).

A `Shape` puts them together. The plain one is what all systems are measured with; `shapes` has others, for syncd.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

DATABASE = "bench"
COLLECTION = "docs"
FIELDS = ("v", "name", "email", "city", "street", "score", "status", "note")
MARKERS = 16
"""Documents that are written last in every backlog: when they are visible, so is everything before them."""

_CITIES = ("Lisbon", "Nairobi", "Osaka", "Quito", "Reykjavik", "Tashkent", "Wellington")
STATES = ("active", "invited", "suspended")
_STREETS = ("Rua das Flores", "Kenyatta Avenue", "Midosuji", "Calle La Ronda", "Laugavegur", "Amir Temur")
_NOTE = "deliver in the morning, call when the gate is closed, "

Document = dict[str, Any]


def document(number: int, version: int = 1) -> Document:
    """The document with `_id` = `number`, as it is inserted."""
    return {
        "_id": number,
        "v": version,
        "name": f"Customer {number:08d}",
        "email": f"customer.{number:08d}@example.com",
        "city": _CITIES[number % len(_CITIES)],
        "street": f"{number % 997} {_STREETS[number % len(_STREETS)]}, building {number % 31}",
        "score": number % 4_000 + 0.25,
        "status": STATES[number % len(STATES)],
        "note": f"{_NOTE}{number * 2_654_435_761 % 2**32:08x}",
    }


def changed(number: int, version: int) -> Document:
    """The fields that an update to a version sets: every other one sets one field, the rest set two."""
    values: Document = {"v": version}
    if (number + version) % 2:
        values["score"] = (number + version) % 4_000 + 0.75
    return values


def key(number: int) -> str:
    """The Redis key of a document."""
    return f"bench:{number}"


def project(source: Document) -> dict[bytes, bytes]:
    """The hash that a document must become, by rules of its own: nothing of any system under test is used."""
    return {name.encode(): str(source[name]).encode() for name in FIELDS}


def markers(first: int, count: int) -> range:
    """The last `MARKERS` of the documents `first` .. `first + count - 1`."""
    return range(first + count - min(MARKERS, count), first + count)


@dataclass(frozen=True)
class Shape:
    """What one contract makes of the documents of one collection. The plain one: a hash with all eight fields."""

    name: str = "hash"
    collection: str = COLLECTION
    prefix: str = "bench"

    def document(self, number: int) -> Document:
        """The document as it is inserted, at version 1."""
        return document(number)

    def changed(self, number: int, version: int) -> Document:
        """What an update to a version sets."""
        return changed(number, version)

    def visible(self, number: int, version: int) -> bool:
        """Whether the document has a key at a version."""
        return True

    def key(self, number: int) -> str:
        """The Redis key of a document."""
        return f"{self.prefix}:{number}"

    def version(self, number: int) -> tuple[str, ...]:
        """The command that reads `v` out of a key."""
        return ("HGET", self.key(number), "v")

    def whole(self, number: int) -> tuple[str, ...]:
        """The command that reads all of a key."""
        return ("HGETALL", self.key(number))

    def shown(self, reply: Any) -> dict[Any, Any]:
        """The reply to `whole`, empty where there is no key."""
        return dict(zip(reply[::2], reply[1::2], strict=True))

    def right(self, source: Document) -> dict[Any, Any]:
        """What `shown` must give for a document, empty where there must be no key."""
        return dict(project(source))

    def fields(self) -> str:
        """The fields of the projection, in the contract's YAML."""
        return f"[{', '.join(FIELDS)}]"

    def contract(self) -> str:
        """The contract file."""
        return f"""\
apiVersion: syncd/v1
kind: SyncContract
metadata: {{name: {self.prefix}, version: 1.0.0, owner: benchmarks}}
mongo: {self.source()}
redis:
  - {self.projection()}"""

    def projection(self) -> str:
        """The projection, in the contract's YAML, from its first key on."""
        return f"""\
projection: card
    type: {self.type()}
    key: "{self.prefix}:{{_id}}"
    fields: {self.fields()}
{self.index()}"""

    def keys(self, documents: int) -> int:
        """How many keys so many documents have."""
        return documents

    def held(self, shown: dict[Any, Any]) -> int:
        """How many keys are in what `shown` gives."""
        return bool(shown)

    def prepare(self, mongo_uri: str) -> None:
        """Make what has to be there beside the documents."""

    def counts(self, key: bytes) -> tuple[str | bytes, ...] | None:
        """The command that says how many documents share a key; None where each has its own."""
        return None

    def source(self) -> str:
        """Where the documents live, in the contract's YAML."""
        return f"{{collection: {DATABASE}.{self.collection}}}"

    def type(self) -> str:
        """What a key holds."""
        return "hash"

    def index(self) -> str:
        """The search index of the projection, in the contract's YAML; empty where it has none."""
        return ""


PLAIN = Shape()
