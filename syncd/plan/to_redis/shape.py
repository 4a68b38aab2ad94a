"""One shape of a document in Redis: its key, its content, its time to live. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from bson.datetime_ms import DatetimeMS

from syncd.contract.model.redis.indexed import entries_of
from syncd.contract.model.redis.projection import FieldSpec, FieldTtl, Projection
from syncd.contract.model.redis.redis_types import TYPE_RULES
from syncd.contract.model.redis.template import template_of
from syncd.contract.model.redis.template_overlap import may_be_control, overlaps
from syncd.errors import ProjectionError
from syncd.plan.keys.templates import render
from syncd.plan.misfits import Misfits
from syncd.plan.paths import MISSING, getter
from syncd.plan.to_redis.change import Content, Drop, Elements, Patch, Put, Retired
from syncd.plan.to_redis.delta import DeltaReader
from syncd.plan.to_redis.fields import Field, Find, collector, compile_field, row_reader
from syncd.plan.types import expiring_fields, redis_type, written
from syncd.plan.values.bson_values import in_field
from syncd.plan.values.codec import HashEncoder, hash_field
from syncd.plan.values.raw import RAW, Unfit
from syncd.plan.values.searchable import label_separator

WIDEST_ROW = 500
"""Fields that fit one call of a function in Lua, with room for more."""


def _no_row(_: Mapping[str, Any]) -> None:
    return None


def _moment(value: Any) -> int | None:
    """Epoch milliseconds at which something expires; None where it does not. Raises ProjectionError."""
    if value is MISSING or value is None:
        return None
    if not isinstance(value, DatetimeMS):
        raise ProjectionError("ttl_not_a_date", "the field that says when it expires holds no date")
    return int(value)


def _labels(projection: Projection, misfits: Misfits) -> dict[str, HashEncoder]:
    """How fields of a whole document are written that a tag index reads."""
    return {
        name: hash_field(
            name, FieldSpec(from_=name), None, entries, misfits.note(projection.projection, name)
        )
        for name, entries in entries_of(projection).items()
        if label_separator(TYPE_RULES[projection.type].index, entries)
    }


def refuse_unfit(document: Mapping[str, Any]) -> None:
    """Raises ProjectionError for a document on which the filter fails."""
    if type(document) is Unfit:
        raise ProjectionError(
            "filter_fails", "MongoDB fails to compare the document with the contract's filter"
        )


class Shape:
    """A compiled projection. `reads` are the paths it needs, or None for the whole document."""

    each: ClassVar[bool] = False
    """Whether a document has a key for each element of an array, see `EachShape`."""
    is_shared: ClassVar[bool] = False
    """Whether documents are members of its keys, see `MemberShape`."""

    def __init__(self, projection: Projection, hmac_key: bytes | None, misfits: Misfits) -> None:
        self.name = projection.projection
        self.type: str = projection.type
        """In records: the type as contracts call it, and whether documents share keys."""
        self.index_form = TYPE_RULES[projection.type].index
        self.redis_type = redis_type(projection.type)
        self.form = written(projection)
        self.template = template_of(projection)
        self.by_id = self.template.by_id
        self._whole = projection.whole
        self.ttl_ms = projection.ttl if isinstance(projection.ttl, int) else 0
        self._ttl_at: Find | None = (
            getter(projection.ttl.field) if isinstance(projection.ttl, FieldTtl) else None
        )
        self._expires = {name: getter(path) for name, path in expiring_fields(projection).items()}
        self.expiring = tuple(self._expires)
        """Names of the fields that expire by themselves."""
        also = self.form.also_read(self.expiring)
        self.commands = (self.form.read,) if also is None else (self.form.read, also)
        """What reads a whole key, as `Written.read`."""
        as_json = self.form.as_json
        specs = {"value": projection.value} if projection.value else projection.fields or {}
        entries = entries_of(projection)
        notes = {name: misfits.note(self.name, name) for name in specs}
        fields = [
            compile_field(
                name, spec, hmac_key, as_json=as_json, entries=entries.get(name, ()), note=notes[name]
            )
            for name, spec in specs.items()
        ]
        fields = [self.form.field(field, projection, notes[field.name]) for field in fields]
        self.names = tuple(field.name for field in fields)
        """Of the fields of a hash, in the order in which a tuple holds them (see Content)."""
        self.raw_names = [name.encode() for name in self.names]
        self._collect = collector(fields, as_json=as_json)
        # A row is tried first, and what is left out of one would be counted twice.
        strict = all(spec.on_error == "letter" for spec in specs.values())
        has_row = self.form.has_rows and 0 < len(fields) <= WIDEST_ROW and strict and not self._expires
        self._labels = _labels(projection, misfits) if self._whole else {}
        self._row = row_reader(fields) if has_row else _no_row
        moments = expiring_fields(projection)
        whole = {*moments.values(), *(field.path for field in fields if field.name in moments and field.path)}
        self.deltas = (
            DeltaReader(fields, as_json=as_json, whole=whole) if self._is_patchable(fields) else None
        )
        self.reads = self._all_reads(projection, fields)
        self._render = render(self.template)
        # Where the key is a function of _id alone, its text is known before any document is.
        is_once = (
            self.template.paths == ("_id",) and self.template.is_plain and not may_be_control(self.template)
        )
        self._once = self.template.literals if is_once else None

    def _all_reads(self, projection: Projection, fields: list[Field]) -> set[str] | None:
        if self._whole or any(field.reads is None for field in fields):
            return None
        paths = set(self.template.paths).union(*(field.reads for field in fields if field.reads))
        paths |= {*expiring_fields(projection).values()}
        return paths | {projection.ttl.field} if isinstance(projection.ttl, FieldTtl) else paths

    def _is_patchable(self, fields: list[Field]) -> bool:
        """Whether an update may go in field by field, without reading the document again."""
        read = [field for field in fields if field.reads != frozenset()]
        plain = all(field.path and not any(p.isdigit() for p in field.path.split(".")) for field in read)
        whole_key = (
            self.by_id and not may_be_control(self.template) and self._ttl_at is None and not self._whole
        )
        return plain and whole_key and self.form.can_patch([field.name for field in fields])

    def key(self, document: Mapping[str, Any]) -> str:
        """The key of a document. Raises ProjectionError where a field of the template is missing."""
        return self._render(document)

    def keys(self, document: Mapping[str, Any]) -> set[str]:
        """The keys of a document that can have one."""
        try:
            return {self.key(document)}
        except ProjectionError:
            return set()

    def key_of(self, ident: str, document_id: Any) -> str:
        """The key by `_id` alone, where `by_id`; `ident` is the `_id` as it stands in keys. Raises ProjectionError
        (`odd_id`) where it stands in none."""
        if self._once is not None and not ident.startswith(RAW):
            return f"{self._once[0]}{ident}{self._once[1]}"
        return self._render({"_id": document_id})

    def key_if_any(self, ident: str, document_id: Any) -> str | None:
        """The same; None for an `_id` that has no key, whose document is a dead letter."""
        try:
            return self.key_of(ident, document_id)
        except ProjectionError:
            return None

    def ttl(self, document: Mapping[str, Any]) -> int:
        """0 none, > 0 milliseconds from now, < 0 minus a moment in epoch milliseconds."""
        if self._ttl_at is None:
            return self.ttl_ms
        moment = _moment(self._ttl_at(document))
        return 0 if moment is None else min(-1, -moment)  # a moment before 1970 has passed as well

    def content(self, document: Mapping[str, Any]) -> Content | None:
        """The encoded fields of a document, or the value of a string; None when that value is missing."""
        if self._whole:
            return self._everything(document)
        fields = self._collect(document)
        for name, find in self._expires.items():
            if name in fields:
                try:
                    moment = _moment(find(document))
                except ProjectionError as error:
                    raise in_field(name, error) from None
                if moment is not None:
                    fields[name] = self.form.expiring(fields[name], moment)
        return self.form.content(fields)

    def _everything(self, document: Mapping[str, Any]) -> Content:
        try:
            return self.form.everything(document, self._labels)
        except ProjectionError:
            for name, value in document.items():  # which field is it?
                try:
                    self.form.everything({name: value}, self._labels)
                except ProjectionError as error:
                    raise in_field(name, error) from None
            raise

    def put(self, ident: str, document: Mapping[str, Any], time: str) -> Put | Elements | Drop:
        """The whole new content of the document's key; where there cannot be such a key, it goes."""
        refuse_unfit(document)
        return self._put_one(ident, document, time)

    def _put_one(self, ident: str, document: Mapping[str, Any], time: str) -> Put | Drop:
        # First the key: of an `_id` that no key can have, the dead letter says that, and not what a field makes of it.
        if self._once is not None and not ident.startswith(RAW):
            key = f"{self._once[0]}{ident}{self._once[1]}"
        else:
            key = self.key_of(ident, document["_id"]) if self.by_id else self._render(document)
        row = self._row(document)
        content = self.content(document) if row is None else row
        if not content and not self.form.can_hold(content):
            return Drop(self, ident, key)
        assert content is not None
        return Put(self, ident, key, content, self.ttl(document) if self._ttl_at else self.ttl_ms, time)

    def patch(self, ident: str, key: str, sets: dict[str, Any], removed: frozenset[str]) -> Patch | Drop:
        """An update of some fields."""
        return Patch(self, ident, key, sets, removed, self.ttl_ms)

    def has_whole(self, retired: Retired) -> bool:
        """Whether a projection that shared its hashes has been replaced by this one, which does not share them."""
        return bool(retired.template.fields) and overlaps(self.template, retired.template) is not None

    def stale(self, ident: str) -> str | None:
        """What shows an older state of a document behind a dead letter, where that is not its key."""
        return None

    def drop(self, ident: str, document_id: Any) -> Drop:
        """What removes the key of a document that is gone, where it can have had one."""
        if not self.by_id:
            return Drop(self, ident, None)
        try:
            return Drop(self, ident, self.key_of(ident, document_id))
        except ProjectionError:
            return Drop(self, ident, None)
