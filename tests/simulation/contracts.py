"""The contracts of a run, in two versions: what a document becomes."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import Any

import orjson

from syncd.contract.model.contract import Contract
from syncd.plan.keys.templates import encode_key_value
from syncd.plan.to_redis.change import Dead, Elements, Put
from syncd.plan.to_redis.compile import Plan, compile_contract
from syncd.plan.to_redis.member_shape import MemberShape
from syncd.plan.to_redis.shared_hash import SharedHashShape
from syncd.plan.types import Memberships
from tests.simulation.mongo.server import DATABASE

NAME = "films"
COLLECTION = "films"
FIELD_N = {"from": "n", "type": "int"}
CARD = {
    "projection": "card", "type": "hash", "key": "card:{_id}", "fields": {"v": "v", "title": "title", "n": FIELD_N},
}  # fmt: skip
TREE = {"projection": "tree", "type": "json", "key": "tree:{_id}", "fields": {"v": "v", "title": "title"}}
TEXT = {"projection": "text", "type": "string", "key": "text:{_id}", "value": {"from": "v"}}
SLUG = {"projection": "slug", "type": "hash", "key": "slug:{slug}", "fields": {"v": "v", "title": "title"}}
BRIEF = {"projection": "brief", "type": "hash", "key": "brief:{_id}", "fields": {"v": "v", "title": "title"}}
PART = {
    "projection": "part", "type": "hash", "each": "parts", "key": "part:{_id}:{parts.id}",
    "fields": {"v": "v", "text": "parts.text"},
}  # fmt: skip
PIECE = {**PART, "projection": "piece", "type": "json", "key": "piece:{parts.id}"}
BOARD = {"projection": "board", "type": "zset", "key": "board:{team}", "member": "{_id}", "score": "n"}
RANK = {**BOARD, "projection": "rank", "key": "rank:{team}"}
TAGS = {"projection": "tags", "type": "set", "key": "tags:{tags[]}", "member": "{_id}"}
TOP = {**BOARD, "projection": "top", "key": "top:{team}", "keep": {"highest": 2}}
ROW = {**PART, "projection": "row", "key": "row:{_id}:{parts.#}"}
LABEL = {
    "projection": "label", "type": "hash", "key": "label:{_id}", "fields": {"v": "v", "squad": "squad.name"},
}  # fmt: skip
LEAF = {
    "projection": "leaf", "type": "json", "key": "leaf:{_id}",
    "fields": {"v": "v", "squad": "squad.name", "lead": "lead.name"},
}  # fmt: skip
NAMED = {**LABEL, "projection": "named", "key": "named:{_id}:{squad.name}"}
FEATURES = {**CARD, "projection": "features", "key": "features:{_id}", "share": True}
TRAITS = {**SLUG, "projection": "traits", "key": "traits:{_id}", "share": True}
SQUADS, LEADS = "squads", "leads"
JOINS = {
    "squad": {"collection": f"{DATABASE}.{SQUADS}", "on": {"team": "_id"}, "fields": ["name", "lead"]},
    "lead": {"collection": f"{DATABASE}.{LEADS}", "on": {"squad.lead": "_id"}, "fields": ["name"]},
}


@dataclass(frozen=True)
class Kind:
    """A contract, and what it becomes by an edit."""

    projections: tuple[dict[str, Any], ...]
    edited: tuple[dict[str, Any], ...]
    filter: dict[str, Any] | None = None
    joins: dict[str, Any] | None = None


KINDS: dict[str, Kind] = {
    "hash": Kind((CARD,), (CARD | {"fields": {**CARD["fields"], "slug": "slug"}},)),
    "json": Kind((TREE,), (TREE | {"fields": {**TREE["fields"], "slug": "slug"}},)),
    "moving": Kind((SLUG,), (SLUG, BRIEF)),
    "filtered": Kind((CARD,), (BRIEF,), {"on": True}),
    "several": Kind((CARD, TREE, TEXT), (BRIEF, TREE)),
    "types": Kind((BRIEF,), ({**BRIEF, "type": "json"},)),
    "moving and more": Kind((SLUG, CARD), (SLUG,)),
}
"""A seed says which."""
OF_ELEMENTS: dict[str, Kind] = {
    "elements": Kind((PART,), (PART | {"fields": {**PART["fields"], "title": "title"}},)),
    "moving elements": Kind((PIECE,), (PIECE | {"type": "hash"},)),
    "filtered elements": Kind((ROW,), (BRIEF, ROW), {"on": True}),
    "elements and more": Kind((PIECE, ROW, SLUG), (PIECE,)),
}
"""Those with a key for each element of an array."""
OF_MEMBERS: dict[str, Kind] = {
    "board": Kind((BOARD,), (RANK,)),
    "tags": Kind((TAGS,), (TAGS, BOARD)),
    "filtered members": Kind((BOARD, TAGS), (RANK, TAGS), {"on": True}),
    "best": Kind((TOP,), (TOP | {"keep": {"lowest": 1}},)),
    "members and more": Kind((BOARD, TAGS, CARD), (BOARD,)),
}
"""Those whose documents share keys."""
OF_JOINS: dict[str, Kind] = {
    "joined": Kind((LABEL,), (LABEL | {"fields": {**LABEL["fields"], "slug": "slug"}},), joins=JOINS),
    "joined through": Kind((LEAF,), (LEAF, LABEL), joins=JOINS),
    "joined and filtered": Kind((LABEL,), (LEAF,), {"on": True}, JOINS),
    "joined key": Kind((NAMED,), (NAMED, LABEL), joins=JOINS),
    "joined and more": Kind((LEAF, CARD), (CARD, LABEL), joins=JOINS),
}
"""Those whose documents show what they name in other collections."""
OF_SHARED: dict[str, Kind] = {
    "shared hash": Kind((FEATURES,), (FEATURES | {"fields": {**CARD["fields"], "slug": "slug"}},)),
    "shared and more": Kind((FEATURES, TRAITS, BRIEF), (FEATURES, BRIEF)),
    "filtered and shared": Kind(
        (TRAITS,), (TRAITS | {"fields": {**TRAITS["fields"], "n": FIELD_N}},), {"on": True}
    ),
}
"""Those with hashes in which an application has fields as well."""
_ALL = KINDS | OF_ELEMENTS | OF_MEMBERS | OF_JOINS | OF_SHARED


@cache
def contract(kind: str, version: int) -> Contract:
    """One version of a kind."""
    said = _ALL[kind]
    mongo: dict[str, Any] = {"collection": f"{DATABASE}.{COLLECTION}", "unique": [["slug"], ["parts.id"]]}
    if said.filter is not None:
        mongo["filter"] = said.filter
    if said.joins is not None:
        mongo["with"] = said.joins
    return Contract.model_validate({
        "apiVersion": "syncd/v1", "kind": "SyncContract",
        "metadata": {"name": NAME, "version": f"{version}.0.0", "owner": "tests"},
        "mongo": mongo, "redis": list(said.projections if version == 1 else said.edited),
    })  # fmt: skip


@cache
def plan_of(kind: str, version: int) -> Plan:
    """A plan: it has no state but a count of values that did not fit, and here none is counted."""
    return compile_contract(contract(kind, version))


@dataclass(frozen=True, slots=True)
class Shown:
    """What a document is in Redis."""

    contents: dict[str, Any]
    """By key."""
    letters: frozenset[str]
    """Keys of which nothing new can be shown."""


class Expectation:
    """What documents become under one version. Without state."""

    def __init__(self, kind: str, version: int) -> None:
        self._plan = plan_of(kind, version)
        self._filter = _ALL[kind].filter
        self.prefixes = tuple(shape.template.text.partition("{")[0] for shape in self._plan.shapes)
        shared = [shape for shape in self._plan.shapes if isinstance(shape, MemberShape)]
        self.keeps = {shape.name: shape.keep for shape in shared if shape.keep}
        """How many members a key holds, by its projection, where they are not all."""
        self.alone = tuple(
            f"{one.name}:" for one in shared if not any(p.many for p in one.template.placeholders)
        )
        """Prefixes of keys of which a document is a member of one at most."""

    def of(self, document: dict[str, Any] | None) -> Shown:
        """All keys of a document."""
        if document is None or (self._filter and any(document.get(n) != v for n, v in self._filter.items())):
            return Shown({}, frozenset())
        ident = encode_key_value(document["_id"])
        contents, letters = {}, set()
        for write in self._plan.puts(ident, document, "", {}):
            if isinstance(write, Put) and isinstance(write.shape, SharedHashShape):
                contents[write.key] = fields_of(write)
            elif isinstance(write, Put) and isinstance(write.content, Memberships):
                value = float(write.content.values[0]) if write.content.values else None
                contents.update((f"{key} {member}", (value,)) for key, member in write.content.each())
            elif isinstance(write, Put):
                contents[write.key] = content_of(write)
            elif isinstance(write, Elements):
                contents.update((put.key, content_of(put)) for put in write.puts)
            elif isinstance(write, Dead):
                letters.add(f"{write.projection}:{document['_id']}")
        return Shown(contents, frozenset(letters))


def content_of(write: Put) -> Any:
    """As the model holds it."""
    content = write.content
    if write.shape.type == "json":
        return orjson.loads(content) if isinstance(content, bytes) else orjson.loads(orjson.dumps(content))
    if write.shape.type == "string":
        return as_bytes(content)
    pairs = zip(write.shape.names, content, strict=True) if isinstance(content, tuple) else content.items()
    return {as_bytes(name): as_bytes(value) for name, value in pairs}


def fields_of(write: Put) -> dict[bytes, bytes]:
    """Of a hash that is shared: names and values, as the model holds them."""
    assert isinstance(write.content, Memberships)
    said = [as_bytes(one) for one in write.content.values or ()]
    return dict(zip(said[::2], said[1::2], strict=True))


def as_bytes(value: Any) -> bytes:
    """As a driver sends it."""
    return value if isinstance(value, bytes) else str(value).encode()
