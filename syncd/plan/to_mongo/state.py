"""A contract whose keys go to MongoDB as they are: the present content of a key -> an update of its document. Pure."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache, partial
from typing import Any, NamedTuple

import orjson
from bson.datetime_ms import DatetimeMS

from syncd.contract.model.contract import Contract
from syncd.contract.model.redis.projection import FieldSpec, FieldTtl
from syncd.contract.model.redis.template import SEPARATOR, KeyTemplate, source_template_of, template_of
from syncd.errors import ProjectionError
from syncd.plan.base import ContractPlan
from syncd.plan.keys.templates import Read, key_reader, render, scan_pattern
from syncd.plan.misfits import Misfits
from syncd.plan.paths import MISSING
from syncd.plan.to_mongo.entry_field import EntryField, entry_field
from syncd.plan.types import Captured, CapturedMembers, captured, redis_type
from syncd.plan.values.bson_values import in_field
from syncd.plan.values.dates import check_years

ABSENT = "absent"
AWAY = "away"
KEYS_KEPT = 1024
"""Of the latest keys what they say is kept: half a megabyte."""


class FoundKey(NamedTuple):
    """A key as it was at one moment."""

    type: str
    """As `TYPE` says it; `none` where there is no key, ABSENT where a key has no such member, AWAY
    where that is not known: another node of a cluster has it, or is to have it."""
    content: Any
    """As `Captured.found` gives it; None of a key of another type."""
    expires: int | None
    """Epoch milliseconds at which the key expires; None where it does not."""
    digest: str = ""
    """Of type, content and expiry; where it was asked for, and there is a key."""
    known: str = ""
    """The digest of what was last synced."""

    @property
    def is_there(self) -> bool:
        """Whether there was a key, or such a member of it."""
        return self.type not in ("none", ABSENT, AWAY)


class StateUpdate(NamedTuple):
    """What a document takes from its key, by path."""

    set: dict[str, Any]
    unset: list[str]


@dataclass(frozen=True, kw_only=True)
class StatePlan(ContractPlan):
    """One contract of `capture: outbox` or `keyspace`. Compiled by `compile_state`.

    With `each: member` it is a member of a key that becomes a document, and of a series a sample. Its name, the key, a
    colon and the member, then stands for it wherever else a key stands for its document; only what asks Redis takes
    names apart.
    """

    projection: str
    type: str
    """As `TYPE` says it."""
    form: Captured
    template: KeyTemplate
    """Of what becomes a document."""
    keys: KeyTemplate
    """Of the keys in Redis: the same, but with `each: member`."""
    fields: tuple[EntryField, ...]
    value: EntryField | None
    """Instead of `fields`: what a string holds, or each element of a set, a sorted set or a list."""
    expires_at: str | None
    """Where the moment goes at which the key expires."""

    @property
    def reads_all_keys(self) -> bool:
        """Whether a lane begins with all keys that are there. With an outbox it reads them when a person asks."""
        return self.contract.sync.capture == "keyspace"

    @property
    def all_fields(self) -> tuple[EntryField, ...]:
        """The fields, or the one that the value is."""
        return self.fields if self.value is None else (self.value,)

    def found(self, kind: bytes, expires: int, content: Any, digest: bytes, known: bytes) -> FoundKey:
        """One key of a reply of `syncd_read_state` or `syncd_look_state`."""
        if content is not None:
            content = self.form.found(content)
        moment = None if expires < 0 else expires
        return FoundKey(kind.decode(), content, moment, digest.decode(), known.decode())

    @property
    def pattern(self) -> str:
        """For SCAN: all keys of the contract, and perhaps others."""
        return scan_pattern(self.keys)

    @property
    def of_samples(self) -> bool:
        """Whether members become documents that Redis may remove by itself: samples of series."""
        return self.of_members is not None and self.of_members.may_expire

    @property
    def of_members(self) -> CapturedMembers | None:
        """The form of members, where each becomes a document."""
        return self.form if isinstance(self.form, CapturedMembers) else None

    def place(self, name: bytes) -> tuple[bytes, bytes]:
        """Key and member of a name. No value of a key holds a colon, so these say where the member begins."""
        key = key_of_member(self.keys, name)
        return key, name[len(key) + 1 :]

    def key_of(self, name: bytes) -> bytes:
        """The key that decides which node of a cluster has what is named: of a member that of its key. A name may be a
        key, too."""
        return name if self.of_members is None else key_of_member(self.keys, name)

    def places(self, names: Sequence[bytes]) -> tuple[list[bytes], list[bytes]]:
        """Keys and members of names; where keys become documents, these and no members."""
        if self.of_members is None:
            return list(names), []
        pairs = [self.place(name) for name in names]
        return [key for key, _ in pairs], [member for _, member in pairs]

    def why_no_key(self, key: bytes) -> str:
        """The reason a key of Redis is none of the contract, or an empty string."""
        return _why_not(key_reader(self.keys, exact=self.keys.by_id, stored=True), key)

    def apart(self, keys: Iterable[bytes]) -> tuple[list[bytes], list[bytes]]:
        """Keys of the contract, and the others."""
        mine: list[bytes] = []
        others: list[bytes] = []
        for key in keys:
            (mine if self.has_key(key) else others).append(key)
        return mine, others

    def has_key(self, key: bytes) -> bool:
        """Whether a key of Redis is one of the contract."""
        return not self.why_no_key(key)

    @cached_property
    def key_paths(self) -> tuple[str, ...]:
        """Where values of the key go in the document; none where the key holds the `_id` alone."""
        return () if self._by_id else tuple(dict.fromkeys(self.template.paths))

    @cached_property
    def _by_id(self) -> bool:
        return self.template.by_id

    @cached_property
    def _read(self) -> Read:
        # What becomes of a key is asked several times while its page is written.
        return lru_cache(maxsize=KEYS_KEPT)(key_reader(self.template, exact=self._by_id, stored=True))

    def document_id(self, key: bytes) -> Any:
        """The `_id` that a key stands for. Raises ProjectionError (`foreign_key`) for one that does not fit."""
        said = self._read(key)
        return said["_id"] if self._by_id else key.decode()

    def owns(self, key: bytes) -> bool:
        """Whether a key stands for a document of the contract."""
        return not self.why_not(key)

    def why_not(self, key: bytes) -> str:
        """The reason a key stands for no document, or an empty string."""
        return _why_not(self._read, key)

    def key(self, document_id: Any) -> bytes | None:
        """The key of a document; None for an `_id` that no key has."""
        if not self._by_id:
            key = document_id.encode(errors="replace") if isinstance(document_id, str) else None
            return key if key is not None and self.owns(key) else None
        try:
            key = render(self.template)({"_id": document_id}).encode()
        except ProjectionError:
            return None
        return key if self.owns(key) else None

    def update_of(self, key: bytes, found: FoundKey) -> StateUpdate:
        """What is to be written of a key that is there. Raises ProjectionError where something does not fit."""
        update = self.update(found)
        if self.key_paths:
            update.set.update(self._read(key))
        return update

    def update(self, found: FoundKey) -> StateUpdate:
        """The same, of the content alone."""
        if found.type != self.type:
            raise ProjectionError("wrong_type", f"the key is a {found.type}, the contract says {self.type}")
        update = StateUpdate({}, [])
        for path, value in self._values(found.content):
            if value is MISSING:
                update.unset.append(path)
            else:
                update.set[path] = value
        if self.expires_at is not None and found.expires is not None:
            update.set[self.expires_at] = self._expiry(DatetimeMS(found.expires))
        elif self.expires_at is not None:
            update.unset.append(self.expires_at)
        return update

    def _expiry(self, moment: DatetimeMS) -> DatetimeMS:
        try:
            check_years(moment)
        except ProjectionError as error:
            raise in_field(self.expires_at or "", error) from None
        return moment

    def _values(self, content: Any) -> Iterator[tuple[str, Any]]:
        members, form = self.form.members(content), self.form
        for field in self.all_fields:
            raw = members.get(form.name(field), MISSING)
            yield ".".join(field.path), MISSING if raw is MISSING else form.taken(field, raw)


COLON = SEPARATOR.encode()


def key_of_member(keys: KeyTemplate, name: bytes) -> bytes:
    """Of the name of a member the part before it; of that of a key all."""
    separators = sum(literal.count(SEPARATOR) for literal in keys.literals) + 1
    return COLON.join(name.split(COLON, separators)[:separators])


def _why_not(read: Read, key: bytes) -> str:
    try:
        read(key)
    except ProjectionError as error:
        return error.detail
    return ""


def compile_state(contract: Contract, misfits: Misfits | None = None) -> StatePlan:
    """Compile a contract of `capture: outbox` or `keyspace` that passed its checks."""
    (projection,) = contract.redis
    misfits = misfits or Misfits()
    note = partial(misfits.note, projection.projection)
    content = [
        contract.collection,
        projection.model_dump(mode="json"),
        contract.sync.model_dump(exclude={"apply", "dead_letters", "adopt", "sweep_limit"}),
    ]
    form = captured(projection)
    fields: Mapping[str, FieldSpec] = projection.fields or {}
    value = projection.value
    if isinstance(form, CapturedMembers):
        fields, value = form.fields(projection), None
    digest = hashlib.blake2b(orjson.dumps(content, option=orjson.OPT_SORT_KEYS), digest_size=16)
    return StatePlan(
        contract=contract,
        fingerprint=digest.hexdigest(),
        projection=projection.projection,
        type=redis_type(projection.type),
        form=form,
        template=source_template_of(projection),
        keys=template_of(projection),
        fields=tuple(entry_field(name, spec, note(name)) for name, spec in fields.items()),
        value=None if value is None else entry_field("value", value, note("value")),
        misfits=misfits,
        expires_at=projection.ttl.field if isinstance(projection.ttl, FieldTtl) else None,
    )
