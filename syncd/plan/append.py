"""A contract that appends: one entry of a Redis stream -> one MongoDB document. Pure."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import bson
import orjson
from bson.errors import BSONError
from bson.raw_bson import RawBSONDocument

from syncd.contract.model import Contract, FieldSpec
from syncd.errors import ProjectionError
from syncd.plan.base import ContractPlan
from syncd.plan.reverse import from_hash, from_json

LARGEST_DOCUMENT = 16 * 1024 * 1024
"""Bytes of BSON that MongoDB takes."""
DEEPEST = 100
"""Levels of one JSON value: MongoDB's documentation names no more for a whole document."""


@dataclass(frozen=True, slots=True)
class EntryField:
    """One field of the entry and where it goes in the document."""

    name: bytes
    path: tuple[str, ...]
    spec: FieldSpec

    def value(self, raw: bytes) -> Any:
        """What Redis holds as text, as BSON. Raises ProjectionError, whose detail names the field and no value."""
        with self._named():
            return self._checked(from_hash(raw, self.spec.type or "string", self.spec.datatype))

    def value_of_json(self, value: Any) -> Any:
        """A member of a JSON document, as parsed; without a type as it is. Raises likewise."""
        with self._named():
            return self._checked(from_json(value, self.spec.type) if self.spec.type else value)

    def _checked(self, found: Any) -> Any:
        dims = self.spec.dims
        if dims is not None and found is not None and len(found) != dims:
            raise ProjectionError("vector_length", f"{len(found)} elements, the contract says {dims}")
        if isinstance(found, dict | list) and dims is None:
            _check_depth(found)
        return found

    @contextmanager
    def _named(self) -> Iterator[None]:
        try:
            yield
        except ProjectionError as error:
            raise ProjectionError(error.reason, f"field {self.name.decode()}: {error.detail}") from None


@dataclass(frozen=True, kw_only=True)
class AppendPlan(ContractPlan):
    """One contract of `capture: append`. Its name is also that of its consumer group. Compiled by `compile_append`."""

    stream: str
    projection: str
    fields: tuple[EntryField, ...]

    def document_id(self, entry: str) -> str:
        """The `_id` of an entry's document: the same at every delivery, and of no other entry."""
        return f"{self.stream}/{entry}"

    def document(self, entry: str, said: Mapping[bytes, bytes]) -> RawBSONDocument:
        """The document of an entry. Raises ProjectionError where it cannot be one."""
        document: dict[str, Any] = {"_id": self.document_id(entry)}
        for field in self.fields:
            raw = said.get(field.name)
            if raw is not None:
                _put(document, field.path, field.value(raw))
        try:
            encoded = bson.encode(document)
        except (BSONError, OverflowError):
            detail = "JSON with an integer beyond 64 bits, or a name that BSON cannot hold"
            raise ProjectionError("unsupported_type", detail) from None
        if len(encoded) > LARGEST_DOCUMENT:
            raise ProjectionError(
                "document_too_large", f"{len(encoded)} bytes, MongoDB takes {LARGEST_DOCUMENT}"
            )
        return RawBSONDocument(encoded)


def _put(document: dict[str, Any], path: tuple[str, ...], value: Any) -> None:
    for name in path[:-1]:
        document = document.setdefault(name, {})
    document[path[-1]] = value


def _check_depth(value: Any) -> None:
    level, depth = [value], 0
    while level := [one for one in level if isinstance(one, dict | list)]:
        depth += 1
        if depth > DEEPEST:
            raise ProjectionError("json_too_deep", f"more than {DEEPEST} levels of JSON")
        level = [inner for one in level for inner in (one.values() if isinstance(one, dict) else one)]


def entry_field(name: str, spec: FieldSpec) -> EntryField:
    """A field as the contract names it."""
    return EntryField(name.encode(), tuple((spec.from_ or name).split(".")), spec)


def appends(contract: Contract) -> bool:
    """Whether it is for `compile_append`."""
    return contract.sync.direction == "redis_to_mongo" and contract.sync.capture == "append"


def compile_append(contract: Contract) -> AppendPlan:
    """Compile a contract of `capture: append` that passed its checks."""
    (projection,) = contract.redis
    fields = tuple(entry_field(name, spec) for name, spec in (projection.fields or {}).items())
    content = [contract.mongo.collection, projection.model_dump(mode="json")]
    digest = hashlib.blake2b(orjson.dumps(content, option=orjson.OPT_SORT_KEYS), digest_size=16)
    return AppendPlan(
        contract=contract,
        fingerprint=digest.hexdigest(),
        stream=projection.key,
        projection=projection.projection,
        fields=fields,
    )
