"""A contract that goes both ways: a key and a document as states that can be compared and merged. Pure.

A change event of a document only makes a merge request for its key: both sides are read then, and merged in one place.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any, NamedTuple

import orjson
from bson.datetime_ms import DatetimeMS

from syncd.contract.model.contract import Contract
from syncd.contract.model.redis.indexed import entries_of
from syncd.contract.model.values import DATES
from syncd.errors import ProjectionError
from syncd.plan.both.merge import Base, MergeRules, completed
from syncd.plan.keys.decode import check_moments
from syncd.plan.paths import MISSING
from syncd.plan.stream_plan import StreamPlan
from syncd.plan.to_mongo.entry_field import EntryField
from syncd.plan.to_mongo.state import FoundKey, StatePlan, compile_state
from syncd.plan.to_redis.change import Dead, MergeRequest
from syncd.plan.to_redis.compile import Plan, compile_contract
from syncd.plan.to_redis.fields import Field, compile_field
from syncd.plan.types import Merged, merged
from syncd.plan.values.bson_values import in_field
from syncd.plan.values.codec import OMIT
from syncd.plan.values.dates import check_years

POSITION = "_syncd.pos"


class Value(NamedTuple):
    """A field of one side."""

    content: Any
    """As MongoDB holds it, or would."""
    text: str | bytes
    """As Redis holds it, or would."""
    digest: str
    """Of the text, in a form in which equal values have equal texts."""


class SyncedField(NamedTuple):
    """A field with both of its ways."""

    name: str
    path: str
    there: Field
    back: EntryField


@dataclass(frozen=True, kw_only=True)
class TwoWayPlan(StreamPlan):
    """One contract of `direction: both`. Compiled by `compile_two_way`. Its stream reads no field of a document."""

    documents: Plan
    """The same with the fields, for reads of documents."""
    state: StatePlan
    form: Merged
    rules: MergeRules
    fields: tuple[SyncedField, ...]

    @property
    def conflicts(self) -> tuple[str, str]:
        """Database and collection of the records of conflicts."""
        database, _, collection = self.contract.conflicts.partition(".")
        return database, collection

    def merge_request(self, ident: str, document_id: Any, wall: int = 0) -> MergeRequest:
        """The request to merge the key of a document. Raises ProjectionError where it has none, or one that has no way
        back."""
        try:
            check_moments(document_id)
        except ProjectionError as error:
            raise in_field("_id", error) from None
        (shape,) = self.shapes
        return MergeRequest(shape, ident, shape.key_of(ident, document_id), wall)

    def merge_request_or_dead_letter(
        self, ident: str, document_id: Any, change: Mapping[str, Any], wall: int = 0
    ) -> MergeRequest | Dead:
        """A merge request; a dead letter for a document that can have no key."""
        try:
            return self.merge_request(ident, document_id, wall)
        except ProjectionError as error:
            return Dead(self.shapes[0].name, ident, "", error.reason, error.detail, change)

    def of_key(self, found: FoundKey) -> dict[str, Value] | None:
        """The fields of a key; None where there is none. Raises ProjectionError where one has no way back."""
        if not found.is_there:
            return None
        if found.type != self.state.type:
            raise ProjectionError(
                "wrong_type", f"the key is a {found.type}, the contract says {self.state.type}"
            )
        members, form = self.form.members(found.content), self.form
        values: dict[str, Value] = {}
        for field in self.fields:
            raw = members.get(form.name(field.back), MISSING)
            if raw is not MISSING:
                self._add(values, field, form.taken(field.back, raw))
        return values

    def of_document(self, document: Mapping[str, Any] | None) -> dict[str, Value] | None:
        """The fields of a document; None where there is none. Raises ProjectionError where Redis cannot hold one."""
        if document is None:
            return None
        values: dict[str, Value] = {}
        for field in self.fields:
            _check_way(document, field)
            found = field.there.find(document)
            if found is not MISSING:
                _check_years(found, field)
                self._add(values, field, found)
                self._check_bytes(values.get(field.name), field)
        return values

    def _check_bytes(self, value: Value | None, field: SyncedField) -> None:
        """Bytes that could not be read back would be written once and never again. Raises ProjectionError."""
        if value is not None and isinstance(value.text, bytes) and not self.form.as_json:
            self.form.taken(field.back, value.text)

    def _add(self, values: dict[str, Value], field: SyncedField, content: Any) -> None:
        encoded = OMIT if content is MISSING else field.there.encode(content)
        texts = None if encoded is OMIT else self.form.texts(encoded)
        if texts is not None:  # else as though it were not there
            text, plain = texts
            values[field.name] = Value(content, text, hashlib.blake2b(plain, digest_size=8).hexdigest())

    def operation(
        self, state: Mapping[str, Value] | None, taken: Mapping[str, Value], names: frozenset[str]
    ) -> list[Any]:
        """What brings these fields, as `taken` has them, to a key with this state: for `syncd_merge`."""
        sets = {name: taken[name].text for name in sorted(names) if name in taken}
        gone = sorted(name for name in names if name not in taken and name in (state or {}))
        if not sets and not gone and (state is not None or self.form.empty_is_gone):
            return ["-", 0]
        return self.form.operation(sets, gone, is_there=state is not None)


def _check_years(value: Any, field: SyncedField) -> None:
    """What would be a dead letter on its way back is one at once."""
    if (
        isinstance(value, DatetimeMS)
        and field.back.spec.type in DATES
        and field.back.spec.on_error == "letter"
    ):
        try:
            check_years(value)
        except ProjectionError as error:
            raise in_field(field.name, error) from None


def _check_way(document: Mapping[str, Any], field: SyncedField) -> None:
    """An array on the way has many values, which have no way back."""
    value: Any = document
    for part in field.back.path[:-1]:
        value = value.get(part) if isinstance(value, dict) else None
        if isinstance(value, list):
            raise ProjectionError(
                "cannot_convert", f"field {field.name}: there is an array on the way to its value"
            )


@dataclass(frozen=True, slots=True)
class Record:
    """What is stored of a key: what both sides agreed on, and which agreement that was."""

    base: Base
    version: str
    position: str = ""
    """`_syncd.pos` of a document that has got what is pending: no other write sets the same."""
    written: str = ""
    """The same of what was pending before and is known to be done, since that agreement."""

    def encoded(self) -> bytes:
        """As text."""
        base = self.base
        said = {"f": base.fields, "p": base.pending, "v": self.version, "l": base.lost}
        more = {"at": self.position, "w": self.written}
        return orjson.dumps(said | {name: position for name, position in more.items() if position})


@lru_cache(maxsize=4096)
def stored(known: str) -> tuple[str, Record | None]:
    """The digest of the key and the record, from what is stored; a text that is none counts as nothing."""
    digest, _, text = known.partition(" ")
    try:
        said = orjson.loads(text)
        base, positions = Base(said["f"], said["p"], said["l"]), (said.get("at", ""), said.get("w", ""))
        return digest, Record(base, said["v"], *positions)
    except (orjson.JSONDecodeError, KeyError, TypeError):
        return digest, None


def known_of(found: FoundKey, document: Mapping[str, Any] | None, written: str = "") -> Record | None:
    """What is stored of a key. Where its document has got what is pending, that is agreed on: the document may say
    something else by now, and then that is a change of MongoDB's. `written`: the position under which MongoDB is known
    to have been written last."""
    _, record = stored(found.known)
    if record is None or not record.position or record.position not in (written, _position(document)):
        return record
    return Record(completed(record.base), record.version, written=record.position)


def _position(document: Mapping[str, Any] | None) -> Any:
    said = (document or {}).get("_syncd")
    return said.get("pos") if isinstance(said, dict) else None


def is_agreed(found: FoundKey) -> bool:
    """Whether the key is what both sides agreed on, and nothing is pending, so that MongoDB need not be read."""
    digest, record = stored(found.known)
    return record is not None and record.base.pending == {} and found.is_there and digest == found.digest


def digests(state: Mapping[str, Value] | None) -> dict[str, str] | None:
    """For `merge`."""
    return None if state is None else {name: value.digest for name, value in state.items()}


def compile_two_way(contract: Contract) -> TwoWayPlan:
    """Compile a contract of `direction: both` that passed its checks."""
    plan = compile_contract(contract)
    state = compile_state(contract, plan.misfits)
    (projection,) = contract.redis
    specs: dict[str, Any] = projection.fields or {"value": projection.value}
    form, entries = merged(projection), entries_of(projection)
    synced = tuple(
        SyncedField(
            name,
            ".".join(back.path),
            compile_field(
                name,
                _with_path(spec, back),
                None,
                as_json=form.as_json,
                entries=entries.get(name, ()),
                note=back.note,
            ),
            back,
        )
        for (name, spec), back in zip(specs.items(), state.all_fields, strict=True)
    )
    sync = contract.sync
    assert sync.on_conflict is not None
    rules = MergeRules(
        tuple(field.name for field in synced),
        sync.on_conflict,
        frozenset(sync.authority.mongo if sync.authority else ()),
        frozenset(sync.authority.redis if sync.authority else ()),
        deletes=sync.on_delete == "delete",
        empty_is_gone=form.empty_is_gone,
    )
    return TwoWayPlan(
        contract=contract,
        fingerprint=state.fingerprint,
        misfits=plan.misfits,
        shapes=plan.shapes,
        find_projection=_with_position(
            {"_id": 1}
        ),  # and so that it does not come from an index, see AS_STORED
        event_fields={},
        documents=replace(plan, find_projection=_with_position(plan.find_projection)),
        state=state,
        form=form,
        rules=rules,
        fields=synced,
    )


def _with_position(projection: dict[str, Any] | None) -> dict[str, Any] | None:
    """A read of documents tells whose write was the last."""
    return None if projection is None else projection | {POSITION: 1}


def _with_path(spec: Any, back: EntryField) -> Any:
    return spec if spec.from_ else spec.model_copy(update={"from_": ".".join(back.path)})
