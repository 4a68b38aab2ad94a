"""Outcomes for people and programs: as plain values of JSON, and as lines of text. Pure."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from bson import json_util

from syncd.contract.model.contract import Contract
from syncd.contract.model.redis.projection import FieldSpec, Projection
from syncd.errors import ProjectionError
from syncd.plan.values.vectors import vector_from_bytes
from syncd.preview.outcome import EntryShown, KeyShown, MemberShown, Outcome
from syncd.text import clipped

_RELAXED = json_util.RELAXED_JSON_OPTIONS
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_UNITS = (("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1_000))
LONGEST_LINE = 200
"""Characters of a value in text; JSON has all of it."""


def as_dict(contract: Contract, outcome: Outcome) -> dict[str, Any]:
    """As JSON has it. Only what is there."""
    shapes = {one.projection: one for one in contract.redis}
    found: dict[str, Any] = {"source": outcome.source}
    found["keys"] = [_key(shapes[one.projection], one) for one in outcome.keys]
    found["members"] = [_member(one) for one in outcome.members]
    found["entries"] = [_entry(shapes[one.projection], one) for one in outcome.entries]
    found["dead_letters"] = [one._asdict() for one in outcome.dead_letters]
    if outcome.document is not None:
        found["document"] = json.loads(json_util.dumps(outcome.document, json_options=_RELAXED))
    found["unset"] = outcome.unset
    flags = {"filtered": outcome.filtered, "missing": outcome.missing}
    return {name: value for name, value in {**found, **flags, "notes": outcome.notes}.items() if value}


def _key(projection: Projection, one: KeyShown) -> dict[str, Any]:
    content = one.content
    if isinstance(content, Mapping):
        specs = projection.fields or {}
        content = {name: readable(value, specs.get(name)) for name, value in content.items()}
    else:
        content = readable(content, projection.value)
    found = {"projection": one.projection, "key": one.key, "type": one.type, "content": content}
    if one.ttl:
        found["ttl"] = duration(one.ttl) if one.ttl > 0 else moment(-one.ttl)
    if one.moments:
        found["ttl_of_fields"] = {name: moment(at) for name, at in one.moments.items()}
    return {**found, "bytes": one.size}


def _member(one: MemberShown) -> dict[str, Any]:
    found = {"projection": one.projection, "key": one.key, "type": one.type, "member": one.member}
    if one.content is not None:
        found["content"] = one.content
    if one.ttl:
        found["ttl"] = moment(-one.ttl)
    if one.keep:
        found["if_among"] = f"the {abs(one.keep)} {'highest' if one.keep > 0 else 'lowest'}"
    return found


def _entry(projection: Projection, one: EntryShown) -> dict[str, Any]:
    specs = projection.fields or {}
    fields = {name: readable(value, specs.get(name)) for name, value in one.fields.items()}
    return {"projection": one.projection, "key": one.key, "fields": fields}


def readable(value: Any, spec: FieldSpec | None = None) -> Any:
    """A value in plain types: the numbers of a vector, a text, or other bytes as Extended JSON."""
    if isinstance(value, frozenset):
        return [readable(one) for one in sorted(value)]
    if isinstance(value, list):
        return [readable(one) for one in value]
    if not isinstance(value, bytes):
        return value
    if spec is not None and spec.dims is not None:
        try:
            return vector_from_bytes(value, spec.datatype)
        except ProjectionError:
            pass
    try:
        return value.decode()
    except UnicodeDecodeError:
        return json.loads(json_util.dumps(value))


def duration(milliseconds: int) -> str:
    """As a contract has it."""
    for unit, size in _UNITS:
        if milliseconds % size == 0:
            return f"{milliseconds // size}{unit}"
    return f"{milliseconds}ms"


def moment(milliseconds: int) -> str:
    """A moment in UTC; its milliseconds where it is beyond what dates show."""
    try:
        found = _EPOCH + timedelta(milliseconds=milliseconds)
    except OverflowError:
        return f"{milliseconds} ms after 1970"
    return found.isoformat(timespec="milliseconds" if milliseconds % 1000 else "seconds").replace(
        "+00:00", "Z"
    )


def as_lines(said: Mapping[str, Any]) -> Iterator[str]:
    """The same, of `as_dict`, as text."""
    yield said["source"]
    for one in said.get("keys", ()):
        ttl = f", expires {one['ttl']}" if one.get("ttl", "").endswith("Z") else ""
        ttl = ttl or (f", ttl {one['ttl']}" if "ttl" in one else "")
        yield f"  {one['projection']}: {one['type']} {one['key']} ({one['bytes']} bytes{ttl})"
        yield from _content(one["content"], one.get("ttl_of_fields", {}))
    for one in said.get("members", ()):
        shown = f": {_shown(one['content'])}" if "content" in one else ""
        more = [f"expires {one['ttl']}"] if "ttl" in one else []
        more += [f"if it is among {one['if_among']}"] if "if_among" in one else []
        shown += f" ({', '.join(more)})" if more else ""
        yield f"  {one['projection']}: member {one['member']} of {one['type']} {one['key']}{shown}"
    for one in said.get("entries", ()):
        yield f"  {one['projection']}: an entry of {one['key']}"
        yield from _content(one["fields"], {})
    if "document" in said:
        yield "  becomes the document"
        yield from _content(said["document"], {})
        yield from (f"    without {path}" for path in said.get("unset", ()))
    for one in said.get("dead_letters", ()):
        yield f"  {one['projection']}: DEAD LETTER {one['reason']}: {one['detail']}"
    if said.get("filtered"):
        yield "  does not match the filter, so that it has nothing in Redis"
    if said.get("missing"):
        yield "  is not there"
    yield from (f"  {note}" for note in said.get("notes", ()))


def _content(content: Any, expire: Mapping[str, str]) -> Iterator[str]:
    if not isinstance(content, Mapping):
        yield f"    {_shown(content)}"
        return
    width = min(24, max(map(len, content), default=0))
    for name, value in content.items():
        at = f"   (expires {expire[name]})" if name in expire else ""
        yield f"    {name.ljust(width)}  {_shown(value)}{at}"


def _shown(value: Any) -> str:
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return clipped(text, LONGEST_LINE)
