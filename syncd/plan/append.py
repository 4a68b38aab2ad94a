"""A contract that appends: one entry of a Redis stream -> one MongoDB document. Pure."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import orjson
from bson.raw_bson import RawBSONDocument

from syncd.contract.model import Contract
from syncd.errors import ProjectionError
from syncd.plan.base import ContractPlan
from syncd.plan.elements import Encode, encoder
from syncd.plan.entry_field import EntryField, entry_field

LARGEST_DOCUMENT = 16 * 1024 * 1024
"""Bytes of BSON that MongoDB takes."""


@dataclass(frozen=True, kw_only=True)
class AppendPlan(ContractPlan):
    """One contract of `capture: append`. Its name is also that of its consumer group. Compiled by `compile_append`."""

    stream: str
    projection: str
    fields: tuple[EntryField, ...]

    def document_id(self, entry: str) -> str:
        """The `_id` of an entry's document: the same at every delivery, and of no other entry."""
        return f"{self.stream}/{entry}"

    @cached_property
    def _encode(self) -> Encode:
        return encoder(self.fields)

    @cached_property
    def _head(self) -> bytes:
        return f"{self.stream}/".encode()

    def document(self, entry: str, said: Mapping[bytes, bytes]) -> RawBSONDocument:
        """The document of an entry. Raises ProjectionError where it cannot be one."""
        encoded = self._encode(self._head + entry.encode(), said)
        if len(encoded) > LARGEST_DOCUMENT:
            raise ProjectionError(
                "document_too_large", f"{len(encoded)} bytes, MongoDB takes {LARGEST_DOCUMENT}"
            )
        return RawBSONDocument(encoded)


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
