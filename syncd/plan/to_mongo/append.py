"""A contract that appends: one entry of a Redis stream -> one MongoDB document. Pure."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import orjson
from bson.raw_bson import RawBSONDocument

from syncd.contract.model.contract import Contract
from syncd.errors import ProjectionError
from syncd.plan.base import ContractPlan
from syncd.plan.misfits import Misfits
from syncd.plan.to_mongo.columns import Columns, Said
from syncd.plan.to_mongo.entry_field import EntryField, entry_field

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
    def _columns(self) -> Columns:
        return Columns(self.fields, f"{self.stream}/".encode())

    def document(self, entry: str, said: Mapping[bytes, bytes]) -> RawBSONDocument:
        """The document of an entry. Raises ProjectionError where it cannot be one."""
        documents, refused = self.documents([entry], [[part for pair in said.items() for part in pair]])
        if refused:
            raise refused[0]
        return documents[0]

    def documents(
        self, entries: Sequence[str], said: Sequence[Said]
    ) -> tuple[list[RawBSONDocument], dict[int, ProjectionError]]:
        """The documents of entries, in their order. Entries that cannot become one are left out; their places are
        returned."""
        encoded, refused = self._columns.encoded(list(map(str.encode, entries)), said)
        if max(map(len, encoded), default=0) > LARGEST_DOCUMENT:
            refused |= {
                at: _too_large(len(one)) for at, one in enumerate(encoded) if len(one) > LARGEST_DOCUMENT
            }
        if refused:
            encoded = [one for at, one in enumerate(encoded) if at not in refused]
        return list(map(RawBSONDocument, encoded)), refused


def _too_large(size: int) -> ProjectionError:
    return ProjectionError("document_too_large", f"{size} bytes, MongoDB takes {LARGEST_DOCUMENT}")


def appends(contract: Contract) -> bool:
    """Whether it is for `compile_append`."""
    return contract.sync.direction == "redis_to_mongo" and contract.sync.capture == "append"


def compile_append(contract: Contract) -> AppendPlan:
    """Compile a contract of `capture: append` that passed its checks."""
    (projection,) = contract.redis
    misfits = Misfits()
    fields = tuple(
        entry_field(name, spec, misfits.note(projection.projection, name))
        for name, spec in (projection.fields or {}).items()
    )
    content = [contract.collection, projection.model_dump(mode="json")]
    digest = hashlib.blake2b(orjson.dumps(content, option=orjson.OPT_SORT_KEYS), digest_size=16)
    return AppendPlan(
        contract=contract,
        fingerprint=digest.hexdigest(),
        stream=projection.key,
        projection=projection.projection,
        fields=fields,
        misfits=misfits,
    )
