"""One field of what an application wrote, and its place in the document. Pure."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from bson.datetime_ms import DatetimeMS

from syncd.contract.model.redis.projection import FieldSpec
from syncd.errors import ProjectionError
from syncd.plan.misfits import Note, unnoted
from syncd.plan.paths import MISSING
from syncd.plan.to_mongo.reverse import from_hash, from_json
from syncd.plan.values.dates import check_years
from syncd.plan.values.moments import looks_like_seconds

DEEPEST = 180
"""Levels of a document that MongoDB stores; it does not even read a command with much deeper ones."""


@dataclass(frozen=True, slots=True)
class EntryField:
    """One field of the entry and where it goes in the document."""

    name: bytes
    path: tuple[str, ...]
    spec: FieldSpec
    note: Note = unnoted

    def taken(self, raw: bytes) -> Any:
        """As `value`; of what does not fit what `on_error` says, MISSING where that is nothing."""
        try:
            return self.value(raw)
        except ProjectionError as error:
            return self.instead(error)

    def taken_of_json(self, value: Any) -> Any:
        """As `value_of_json`, likewise."""
        try:
            return self.value_of_json(value)
        except ProjectionError as error:
            return self.instead(error)

    def instead(self, error: ProjectionError) -> Any:
        """Of a value that does not fit: MISSING or null. Raises the error where `on_error` says so."""
        if self.spec.on_error == "letter":
            raise error
        is_null = self.spec.on_error == "null"
        self.note("null" if is_null else "omitted")
        return None if is_null else MISSING

    @property
    def strict(self) -> EntryField:
        """The same, without what `on_error` says."""
        return replace(self, spec=self.spec.model_copy(update={"on_error": "letter"}))

    def value(self, raw: bytes) -> Any:
        """What Redis holds as text, as BSON. Raises ProjectionError, whose detail names the field and no value."""
        self._note_seconds(raw)
        try:
            return self._checked(
                from_hash(raw, self.spec.type or "string", self.spec.datatype, exact=self._exact)
            )
        except ProjectionError as error:
            raise self._named(error) from None

    def value_of_json(self, value: Any) -> Any:
        """A member of a JSON document, as parsed; without a type as it is. Raises likewise."""
        self._note_seconds(value)
        try:
            kind = self.spec.type
            return self._checked(from_json(value, kind, exact=self._exact) if kind else value)
        except ProjectionError as error:
            raise self._named(error) from None

    def _note_seconds(self, value: Any) -> None:
        if self.spec.type == "date" and looks_like_seconds(value):
            self.note("1970")

    @property
    def _exact(self) -> bool:
        return self.spec.round is False

    def _checked(self, found: Any) -> Any:
        dims = self.spec.dims
        if dims is not None and found is not None and len(found) != dims:
            raise ProjectionError("vector_length", f"{len(found)} elements, the contract says {dims}")
        if isinstance(found, dict | list) and dims is None:
            _check_depth(found, DEEPEST - len(self.path))
        elif isinstance(found, DatetimeMS):
            check_years(found)
        return found

    def _named(self, error: ProjectionError) -> ProjectionError:
        return ProjectionError(error.reason, f"field {self.name.decode()}: {error.detail}")


def _check_depth(value: Any, deepest: int) -> None:
    level, depth = [value], 0
    while level := [one for one in level if isinstance(one, dict | list)]:
        depth += 1
        if depth > deepest:
            raise ProjectionError(
                "json_too_deep", f"MongoDB stores no document of more than {DEEPEST} levels"
            )
        level = [inner for one in level for inner in (one.values() if isinstance(one, dict) else one)]


def entry_field(name: str, spec: FieldSpec, note: Note = unnoted) -> EntryField:
    """A field as the contract names it."""
    return EntryField(name.encode(), tuple((spec.from_ or name).split(".")), spec, note)
