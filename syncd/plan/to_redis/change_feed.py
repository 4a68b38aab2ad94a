"""A change feed compiled: what an entry of the stream says of a change. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeAlias, get_args

from syncd.contract.model.redis.projection import ChangeOp, Projection
from syncd.contract.model.redis.template import template_of
from syncd.plan.misfits import Misfits
from syncd.plan.to_redis.change import Entry, Judged
from syncd.plan.to_redis.fields import collector, compile_field, row_reader
from syncd.plan.types import redis_type

UPDATE, DELETE = "update", "delete"
ENTER, LEAVE = "enter", "leave"
"""What becomes of a document in a contract with a filter."""
READ, REPLAY, GAP = "read", "replay", "gap"
"""What `op` of an entry may be beside what MongoDB calls a change: a document that a copy or a replay read, and a gap
in the changes."""
MOST_REMEMBERED = 1024
"""Sets of names, of documents that lack some of the fields."""
_FIXED = ("op", "_id", "time")
_ALL_OPS: tuple[str, ...] = get_args(ChangeOp)
_CHANGES = frozenset(_ALL_OPS) - {ENTER, LEAVE}

Row: TypeAlias = tuple[tuple[str, ...], tuple[Any, ...]]
"""Names, and a value for each."""


class ChangeFeed:
    """A projection whose key is a stream with an entry for each change. `reads` are the paths that it needs of a
    document, or None for the whole."""

    def __init__(
        self, projection: Projection, hmac_key: bytes | None, misfits: Misfits, *, filtered: bool
    ) -> None:
        """`filtered`: whether the contract has a filter, so that documents come to match it and leave."""
        self.filtered = filtered
        self.name = projection.projection
        self.type = projection.type
        self.redis_type = redis_type(projection.type)
        self.template = template_of(projection)
        self.key = self.template.prefix
        self.events = frozenset(projection.events or _ALL_OPS)
        self.copies = projection.copy_
        keep = projection.keep
        self.trim: tuple[str, int] = ("", 0)
        """What goes, as XTRIM has it: MAXLEN and how many entries stay, MINID and for how many milliseconds."""
        if keep is not None:
            self.trim = ("MINID", keep.age) if keep.age is not None else ("MAXLEN", keep.entries or 0)
        specs = projection.fields or {}
        fields = [
            compile_field(name, spec, hmac_key, as_json=False, note=misfits.note(self.name, name))
            for name, spec in specs.items()
        ]
        self._names = (*_FIXED, *(field.name for field in fields))
        self._known = {names: (names, (*names, "changed")) for names in (_FIXED, self._names)}
        """Names of entries, and the same with `changed`."""
        self._collect = collector(fields, as_json=False)
        strict = all(spec.on_error == "letter" for spec in specs.values())
        self._row = row_reader(fields) if strict else None
        self.reads: set[str] | None = None
        if all(field.reads is not None for field in fields):
            self.reads = set().union(*(field.reads for field in fields if field.reads))

    def stale(self, ident: str) -> str:
        """Nothing: the key does not go stale with one document."""
        return ""

    def takes(self, op: str) -> bool:
        """Whether a change, or what a copy read, may become an entry."""
        if op == READ:
            return self.copies
        return op in self.events or (self.filtered and op in _CHANGES)

    @property
    def wanted(self) -> tuple[str, ...]:
        """What `op` of an entry may be, where that depends on whether the document matched before."""
        return (*sorted(self.events), REPLAY, *((READ,) if self.copies else ()))

    def content(self, document: Mapping[str, Any]) -> Row:
        """The fields of a document that is there. Raises ProjectionError."""
        row = None if self._row is None else self._row(document)
        if row is not None:
            return self._names, row
        found = self._collect(document)
        return self._same((*_FIXED, *found)), tuple(found.values())

    def _same(self, names: tuple[str, ...]) -> tuple[str, ...]:
        """One object for equal names, which then need not be compared."""
        if len(self._known) > MOST_REMEMBERED:
            self._known.clear()
        return self._known.setdefault(names, (names, (*names, "changed")))[0]

    def entry(
        self, ident: str, entry_id: str, time: int, op: str, content: Row | None, changed: bytes | None = None
    ) -> Entry:
        """An entry about a document. `content` is None where that is gone; `time`: epoch milliseconds of the change;
        `changed`: names of fields, as JSON."""
        names, values = (_FIXED, ()) if content is None else content
        if changed is None:
            return Entry(self, ident, entry_id, names, (op, ident, time, *values))
        known = self._known.get(names) or (names, (*names, "changed"))
        return Entry(self, ident, entry_id, known[1], (op, ident, time, *values, changed))

    def judged(self, entry: Entry, state: str) -> Judged:
        """The same where Redis knows whether the document matched the filter before. `state`: as of Judged."""
        return Judged(self, entry.ident, entry.id, state, entry.names, entry.values)

    def gap(self, entry_id: str, time: int, why: str) -> Entry:
        """An entry that says that changes before it are missing."""
        return Entry(self, "", entry_id, ("op", "time", "why"), (GAP, time, why))
