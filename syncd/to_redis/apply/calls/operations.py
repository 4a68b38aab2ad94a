"""Writes as the arguments of `syncd_apply` (see stores/redis/lua/apply.lua for the form)."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, TypeAlias

import orjson
from bson import json_util

from syncd.plan.keys.templates import encode_key_value
from syncd.plan.stream_plan import StreamPlan
from syncd.plan.to_redis.change import (
    AnsweredDeadLetters,
    BeginMatched,
    Changed,
    Dead,
    Drop,
    Elements,
    Elsewhere,
    Entry,
    Hashed,
    Judged,
    Leave,
    MapBegins,
    MapIsWhole,
    Matched,
    MatchedIsWhole,
    MergeRequest,
    OpenFeed,
    Orphan,
    Patch,
    Put,
    Retired,
    RetiredKey,
    Stray,
    Write,
)
from syncd.plan.to_redis.member_shape import MemberShape
from syncd.plan.to_redis.shape import WIDEST_ROW, Shape
from syncd.plan.types import Memberships
from syncd.stores.mongo.times import readable, token_time
from syncd.stores.redis.records.dead_letters import new_dead_letter
from syncd.stores.redis.records.position import ControlKeys
from syncd.to_redis.apply.elements import EncodedElement, encoded_elements

MOST_ROWS = 16
"""Most writes of a call have the same few sets of fields, whose names then go over the wire once."""
Limited: TypeAlias = Mapping[tuple[str, str], MemberShape]
"""See `limited_members`."""
_RELAXED = json_util.RELAXED_JSON_OPTIONS


class Operations:
    """The operations of one call: `keys` and `args` as they go over the wire, `writes` by operation number."""

    def __init__(
        self,
        control: ControlKeys,
        contract: str,
        version: str,
        keep_dead_letters: int = 0,
        limited: Limited | None = None,
    ) -> None:
        """`keep_dead_letters`: see ContractPlan. `limited`: see `limited_members`."""
        self.added: list[Write] = []
        """What was added: one of these may take several operations."""
        self.ends_replay = False
        """See Unit."""
        self._control, self._keep_dead_letters = control, keep_dead_letters
        self._limited = limited or {}
        self._contract, self._version = contract, version
        self.keys: list[str] = []
        self.args: list[Any] = []
        self.writes: list[Write] = []
        self._codes: dict[Any, str] = {}
        self._rows: list[dict[str, Any]] = []
        self._open: set[str] = set()
        """Feeds whose entries may follow, their sets of documents that match, and boards whose members may."""

    @property
    def largest(self) -> int:
        """How many writes the node with the most of them gets."""
        return len(self.writes)

    def rows(self) -> bytes:
        """What the operations refer to by number, from 1: see lua/."""
        return orjson.dumps(self._rows) if self._rows else b""

    def add(self, write: Write) -> None:
        """Append one write, or nothing at all: raises ProjectionError where JSON cannot hold the content."""
        kind = type(write)
        if kind is Patch:
            self._patch(write)  # type: ignore[arg-type]
        elif kind is Put:
            self._put(write)  # type: ignore[arg-type]
        elif kind is Elements:
            self._elements(write)  # type: ignore[arg-type]
        elif kind is Entry:
            self._entry(write)  # type: ignore[arg-type]
        else:
            self._add_other(write)
        self.added.append(write)

    def _add_other(self, write: Write) -> None:
        if isinstance(write, Drop):
            self._drop(write)
        elif isinstance(write, Leave | Stray | MapBegins | MapIsWhole):
            self._of_members(write)
        elif isinstance(write, OpenFeed | Judged | Matched | BeginMatched | MatchedIsWhole):
            self._of_feeds(write)
        elif isinstance(write, RetiredKey):
            maps = [self._map(shape)[1] for shape in write.maps]
            self._emit(write, "g", write.shape.redis_type, len(maps), *maps, key=write.key)
        elif isinstance(write, Orphan):
            kind = write.shape.redis_type
            self._emit(write, "o", kind, *self._map(write.shape), write.entry, key=write.key)
        elif isinstance(write, MergeRequest):
            self._emit(write, "t", self._control.merge_requests, write.key, write.wall)
        elif isinstance(write, AnsweredDeadLetters):
            self._emit(write, "y", self._control.dead_by_document, len(write.entries), *write.entries)
        elif isinstance(write, Dead):
            self._dead(write)
        elif isinstance(write, Changed):
            self._emit(write, "c", self._control.changed, len(write.idents), *write.idents)
        elif isinstance(write, Hashed):
            self._digests(write)
        elif isinstance(write, Elsewhere):
            self._emit(write, "r", *self._map(write.shape), write.ident)

    def note_stale(self, write: Dead, key: str) -> None:
        """A key shows an older state, by a dead letter of another call."""
        self._emit(write, "z", key)

    def _emit(self, write: Write, *args: Any, key: str | None = None) -> None:
        self.writes.append(write)
        if key is not None:
            self.keys.append(key)
        self.args += args

    def _members(self, shape: Shape | Retired) -> str:
        return self._control.members(shape.name, shape.template.text)

    def _deadlines(self, shape: Shape | Retired) -> str:
        return self._control.deadlines(shape.name, shape.template.text)

    def _of_members(self, write: Leave | Stray | MapBegins | MapIsWhole) -> None:
        map_of = self._members(write.shape)
        expire = self._prepare(write, write.shape)
        if isinstance(write, Leave):
            maps = [self._members(shape) for shape in write.maps]
            self._emit(write, "mr", map_of, write.ident, len(maps), *maps)
        elif isinstance(write, Stray):
            dead_letter = self._control.dead_by_document, f"{write.shape.name} {write.ident}"
            self._emit(write, "ms", map_of, *dead_letter, write.ident, write.key, write.member)
        elif isinstance(write, MapBegins):
            self._emit(write, "mn", map_of)
        else:
            self._emit(write, "mw", map_of)
            if expire:
                self._emit(write, "mo", self._deadlines(write.shape))

    def _map(self, shape: Shape | Retired) -> tuple[str, str]:
        name, template = shape.name, shape.template.text
        return self._control.keys_by_id(name, template), self._control.ids_by_key(name, template)

    def _put(self, write: Put) -> None:
        shape, ident, key, content, ttl, time_of_state = write
        body: Sequence[Any]
        if shape.is_shared:
            assert isinstance(shape, MemberShape) and isinstance(content, Memberships)
            stale = shape.stale(ident) or ""
            operation = shape.operation(self._members(shape), ident, stale, content, time_of_state)
            if self._prepare(write, shape):
                operation = "mx", self._deadlines(shape), -ttl, *operation[1:]
            self._emit(write, *operation)
            return
        if type(content) is not tuple:
            body = shape.form.put(content, ttl)
        elif not (code := self._code_of(shape, ttl)):
            body = shape.form.put(dict(zip(shape.names, content, strict=True)), ttl)
        elif shape.by_id:  # the commonest by far
            self.writes.append(write)
            self.keys.append(key)
            self.args.append(code)
            self.args += content
            return
        else:
            body = (code, *content)
        if not shape.by_id:
            self._emit(write, "m", *self._map(shape), ident, time_of_state, key=key)
        self.writes.append(write)
        self.keys.append(key)
        self.args += body

    def _elements(self, write: Elements) -> None:
        self.add_elements(write, encoded_elements(write))

    def add_elements(self, write: Elements, encoded: Iterable[EncodedElement]) -> None:
        """Keys of a document, all that it has here."""
        kind = write.shape.redis_type
        self._begin_elements(write, write.time, "1" if write.rewrite else "")
        for put, digest, body in encoded:
            self._emit(put, "e", kind, digest, *body, key=put.key)
        self._emit(write, "e)")

    def _begin_elements(self, write: Elements | Drop, *args: str) -> None:
        self._emit(write, "e(", *self._map(write.shape), write.ident, *args)

    def _code_of(self, shape: Shape, ttl: int) -> str:
        """The row for whole hashes of a shape; empty when there are too many rows."""
        return self._codes.get((shape, ttl)) or self._row((shape, ttl), shape.names, (), ttl, whole=True)

    def _row(self, key: Any, names: Iterable[str], removed: Iterable[str], ttl: int, *, whole: bool) -> str:
        """The code of a new row; empty when there are too many already."""
        if len(self._rows) >= MOST_ROWS:
            return ""
        self._rows.append({"whole": whole, "ttl": str(ttl), "names": list(names), "removed": list(removed)})
        code = self._codes[key] = f"={len(self._rows)}"
        return code

    def _patch(self, write: Patch) -> None:
        shape, ident, key, sets, removed, ttl = write
        if shape.is_shared:
            stale = shape.stale(ident), self._control.dead_by_document
            self._emit(
                write, "mp", self._members(shape), ident, *stale, *shape.form.patch(sets, removed, ttl)
            )
            return
        row, body = "", None
        if shape.form.has_rows and len(sets) + len(removed) <= WIDEST_ROW:
            names = (*sets, None, ttl, *removed)
            row = self._codes.get(names) or self._row(names, sets, removed, ttl, whole=False)
        if not row:
            body = shape.form.patch(sets, removed, ttl)
        self.writes.append(write)  # from here on nothing may raise, or keys and operations would not match
        self.keys.append(key)
        if body is None:
            self.args.append(row)
            self.args += sets.values()
        else:
            self.args += body

    def _drop(self, write: Drop) -> None:
        shape = write.shape
        if shape.each:
            self._begin_elements(write, "", "")
            self._emit(write, "e)")
        elif shape.is_shared:
            if self._prepare(write, shape):
                self._emit(write, "mz", self._deadlines(shape), write.ident)
            self._emit(write, "ml", self._members(shape), write.ident, shape.stale(write.ident))
        elif not shape.by_id:
            self._emit(write, "r", *self._map(shape), write.ident)
        elif write.key is not None:
            self._emit(write, "d", shape.redis_type, key=write.key)

    def _of_feeds(self, write: OpenFeed | Judged | Matched | BeginMatched | MatchedIsWhole) -> None:
        matched = self._control.matched(write.shape.key)
        if isinstance(write, Judged):
            self._judged(write, matched)
        elif isinstance(write, OpenFeed):
            self._open_feed(write)
        elif isinstance(write, Matched):
            self._emit(write, "fa", matched, len(write.idents), *write.idents)
        elif isinstance(write, BeginMatched):
            self._emit(write, "fb", matched, write.word)
        else:
            if write.gap is not None:
                self._entry(write.gap)
            self._emit(write, "fw", matched)

    def _prepare(self, write: Write, shape: Shape | Retired) -> bool:
        """Say how many members the keys of a shape hold, before its first write. Returns whether members expire."""
        said = self._limited.get((shape.name, shape.template.text))
        if said is None:
            return False
        map_of = self._members(shape)
        if said.keep and map_of not in self._open:
            self._open.add(map_of)
            self._emit(write, "mb", map_of, shape.name, said.keep)
        return said.expires

    def _open_feed(self, write: OpenFeed) -> None:
        feed = write.shape
        self._open.add(feed.name)
        self._emit(write, "f", feed.name, write.begins, *feed.trim, key=feed.key)

    def _feed_code(self, write: Entry | Judged, kind: str) -> str:
        """The row of entries with these names."""
        feed = write.shape
        if feed.name not in self._open:
            self._open_feed(OpenFeed(feed))
        key = (feed, kind, write.names)
        if (code := self._codes.get(key)) is None:
            self._rows.append({"kind": kind, "feed": feed.name, "names": write.names})
            code = self._codes[key] = f"={len(self._rows)}"
        return code

    def _entry(self, write: Entry) -> None:
        code = self._feed_code(write, "entry")
        self.writes.append(write)
        self.args += (code, write.id)
        self.args += write.values

    def _judged(self, write: Judged, matched: str) -> None:
        feed = write.shape
        code = self._feed_code(write, "change")
        if matched not in self._open:
            self._open.add(matched)
            self._emit(OpenFeed(feed), "fm", feed.name, matched, ",".join(feed.wanted))
        self.writes.append(write)
        self.args += (code, write.state, write.id)
        self.args += write.values

    def _digests(self, write: Hashed) -> None:
        digests = self._control.digests
        said = [
            part
            for ident, (digest, bucket) in write.sources.items()
            for part in (digests(bucket), ident, "" if digest is None else int(digest))
        ]
        self._emit(write, "b", self._control.changed, len(said), *said)

    def _dead(self, write: Dead) -> None:
        dead_letter = new_dead_letter(
            self._contract, self._version, projection=write.projection, key=write.key, ident=write.ident, why=write,
            change=describe(write.change),
        )  # fmt: skip
        self._emit(
            write,
            "x",
            self._control.dead_by_document,
            write.key if write.stale is None else write.stale,
            self._keep_dead_letters,
            len(dead_letter),
            *dead_letter,
        )


def limited_members(plan: StreamPlan) -> dict[tuple[str, str], MemberShape]:
    """Shapes whose members expire, or whose keys hold so many only, by name and template."""
    shapes = [shape for shape in plan.shapes if isinstance(shape, MemberShape)]
    return {(shape.name, shape.template.text): shape for shape in shapes if shape.keep or shape.expires}


def is_unicode(write: Write) -> bool:
    """Whether UTF-8 can carry every text that is written."""
    content: Any = write.content if isinstance(write, Put) else write.sets if isinstance(write, Patch) else {}
    content = write.values if isinstance(write, Entry | Judged) else content
    if isinstance(content, Memberships):
        content = (*content.pairs, *content.values)
    texts: Iterable[Any] = content if isinstance(content, tuple) else [content]
    if isinstance(content, dict):
        texts = [*content, *content.values()]
    try:
        for text in texts:
            if isinstance(text, str):
                text.encode()
    except UnicodeEncodeError:
        return False
    return True


def describe(event: Mapping[str, Any]) -> dict[str, Any]:
    """A change as a dead letter keeps it: which document, which fields, when; never what they hold.

    A masked field must not reach Redis by this way, and a replay reads the document anyway.
    """
    said: dict[str, Any] = {"op": event.get("operationType", "snapshot")}
    if "documentKey" in event:
        said["id"] = _shown(event["documentKey"]["_id"])
    if time_of := event.get("time") or ("_id" in event and token_time(event["_id"])):
        said["time"] = readable(time_of)
    description = event.get("updateDescription")
    if isinstance(description, dict):
        said["updated"] = _names(description.get("updatedFields"))
        said["removed"] = _names(description.get("removedFields"))
    return said


def _names(fields: Any) -> list[str]:
    return list(fields) if isinstance(fields, dict | list) else []


def _shown(document_id: Any) -> Any:
    """As extended JSON, where it has such a form."""
    try:
        return json.loads(json_util.dumps(document_id, json_options=_RELAXED))
    except (TypeError, ValueError, OverflowError):
        return encode_key_value(document_id)
