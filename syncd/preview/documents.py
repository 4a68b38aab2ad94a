"""From documents to keys, as a lane does it: its builder makes the writes, and its operations encode them.

Instead of MongoDB a reader answers that was given the documents. Nothing is sent, so a refusal of Redis is not seen.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from bson.int64 import Int64

from syncd.errors import ProjectionError, why_unfit
from syncd.plan.both.plan import TwoWayPlan
from syncd.plan.keys.encode import encode_key_value
from syncd.plan.stream_plan import StreamPlan
from syncd.plan.to_redis.change import IN, Dead, Drop, Elements, Entry, Judged, Put, Write
from syncd.plan.to_redis.compile import Plan
from syncd.plan.to_redis.member_shape import MemberShape
from syncd.plan.types import SHARED, MemberForm, Memberships
from syncd.plan.values.texts import as_bytes
from syncd.preview.outcome import DeadShown, EntryShown, KeyShown, MemberShown, Outcome
from syncd.stores.mongo.reads.lookup import Found
from syncd.stores.mongo.store import Document
from syncd.stores.mongo.times import ZERO, Moment
from syncd.stores.redis.records.position import ControlKeys
from syncd.to_redis.apply.calls.operations import Operations, is_unicode
from syncd.to_redis.apply.key_builder import KeyBuilder
from syncd.to_redis.apply.watermarks import Watermarks
from syncd.to_redis.stream.numbering import NTH
from syncd.to_redis.stream.window import Window

BEGINNING: Moment = "0" * 15 + "1"
"""A cluster time, where no real one is known."""


class GivenDocuments:
    """Answers as a Lookup does, of documents that are known already. By ident; those on which the filter fails are
    Unfit, and those that do not match it are not there."""

    deletes_may_move = False

    def __init__(
        self, documents: Mapping[str, Document], time: Moment, there: Mapping[str, Document] | None = None
    ) -> None:
        """`there`: all that are in the collection, where that is more than what matches."""
        self._documents, self._time = documents, time
        self._there = documents if there is None else there

    def by_ids(
        self,
        ids: Iterable[Any],
        after: Moment,
        *,
        wanted: Document | None = None,
        digests: bool = False,
        every: bool = False,
    ) -> Found:
        """All that are asked for, at once."""
        known = self._there if every else self._documents
        found = {ident: known[ident] for ident in map(encode_key_value, ids) if ident in known}
        return Found(found, max(after, self._time), True)

    def there(self, ids: Iterable[Any], after: Moment, *, every: bool = False) -> Found:
        """The same."""
        return self.by_ids(ids, after, every=every)


def event(
    op: str, document_id: Any, nth: int, *, time: Moment = BEGINNING, wall_ms: int = 0, **more: Any
) -> Document:
    """A change as the stream brings it."""
    token = {"_data": f"82{time}"}
    key = {"_id": document_id}
    return {"operationType": op, "documentKey": key, "_id": token, "wallTime": wall_ms, NTH: nth, **more}


def writes_of(
    plan: StreamPlan,
    events: Sequence[Document],
    documents: Mapping[str, Document],
    there: Mapping[str, Document] | None = None,
) -> list[Write]:
    """The writes of changes of documents, all of which are read; what cannot be encoded is a dead letter. `documents`
    match the filter, `there` are all."""
    if isinstance(plan, TwoWayPlan):
        writes = [write for one in events for write in _of_two_ways(plan, one, documents)]
    else:
        assert isinstance(plan, Plan)
        time = events[-1]["_id"]["_data"][2:18] if events else ZERO
        lookup: Any = GivenDocuments(documents, time, there)
        builder = KeyBuilder(plan, lookup, Watermarks())
        window = Window(list(events), {"_data": f"82{time}"}, time)
        built = builder.window(window, {encode_key_value(one["documentKey"]["_id"]) for one in events})
        writes = built[0] if built is not None else []
    return [_encodable(plan, write) for write in writes]


def _of_two_ways(plan: TwoWayPlan, change: Document, documents: Mapping[str, Document]) -> list[Write]:
    """What a document becomes where its key is not there yet, so that nothing is merged."""
    document_id = change["documentKey"]["_id"]
    ident = encode_key_value(document_id)
    document = documents.get(ident)
    if document is None:
        return plan.documents.drops(ident, document_id, deleted=True)
    request = plan.merge_request_or_dead_letter(ident, document_id, change)
    if isinstance(request, Dead):
        return [request]
    try:
        plan.of_document(document)
    except ProjectionError as error:
        return [Dead(request.shape.name, ident, request.key, error.reason, error.detail, change)]
    return plan.documents.puts(ident, document, ZERO, change)


def _encodable(plan: StreamPlan, write: Write) -> Write:
    """The same write, or the dead letter that a lane makes of it."""
    if isinstance(write, Dead):
        return write
    try:
        Operations(ControlKeys(plan.name), plan.name, plan.contract.metadata.version).add(write)
        if not is_unicode(write):
            raise ProjectionError("not_unicode", "a field holds text that is not UTF-8")
    except Exception as error:  # noqa: BLE001 - as a lane: any error is that of this write
        why = why_unfit(error)
        shape = getattr(write, "shape", None)
        return Dead(getattr(shape, "name", ""), getattr(write, "ident", ""), "", why.reason, why.detail, {})
    return write


def outcome_of(source: str, writes: Iterable[Write]) -> Outcome:
    """Writes as values that people read."""
    found, without = Outcome(source), list[str]()
    for write in writes:
        form = write.shape.form if isinstance(write, Put) else None
        if isinstance(write, Put) and isinstance(form, MemberForm) and not form.is_one_key:
            found.members += members_of(write)
        elif isinstance(write, Put):
            found.keys.append(key_of(write))
        elif isinstance(write, Elements):
            found.keys += map(key_of, write.puts)
        elif isinstance(write, Entry) or (isinstance(write, Judged) and write.state == IN):
            found.entries.append(entry_of(write))
        elif isinstance(write, Dead):
            found.dead_letters.append(DeadShown(write.projection, write.reason, write.detail))
        elif isinstance(write, Drop):
            without.append(write.shape.name)
    dead = {one.projection for one in found.dead_letters}
    found.notes += [f"projection {name}: it has none" for name in without if name not in dead]
    return found


def key_of(write: Put) -> KeyShown:
    """A key."""
    shape, content = write.shape, write.content
    if type(content) is tuple:
        content = dict(zip(shape.names, content, strict=True))
    form = shape.form
    # Behind code and time to live.
    size = len(write.key.encode()) + sum(len(as_bytes(part)) for part in form.put(content, write.ttl)[2:])
    kind = shape.type.removesuffix(SHARED)
    return KeyShown(shape.name, write.key, kind, form.shown(content), write.ttl, form.moments(content), size)


def members_of(write: Put) -> list[MemberShown]:
    """All that a document is a member of."""
    assert isinstance(write.content, Memberships)
    shape, shown = write.shape, write.shape.form.shown(write.content)
    assert isinstance(shape, MemberShape)
    return [
        MemberShown(shape.name, key, shape.redis_type, member, shown, write.ttl, shape.keep)
        for key, member in write.content.each()
    ]


def entry_of(write: Entry | Judged) -> EntryShown:
    """An entry, as Redis holds it: of texts and bytes. Of a contract with a filter, one about a document that matched
    before; it may be `enter`."""
    fields = dict(zip(write.names, (_text(value) for value in write.values), strict=True))
    return EntryShown(write.shape.name, write.shape.key, fields)


def _text(value: Any) -> Any:
    if isinstance(value, bytes):
        try:
            return value.decode()
        except UnicodeDecodeError:
            return value
    return str(value) if isinstance(value, int | Int64) else value
