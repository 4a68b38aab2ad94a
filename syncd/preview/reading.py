"""What a preview reads of both stores. It takes no lease, and writes nothing, not even syncd's functions."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from itertools import chain, islice
from typing import Any, NamedTuple

from redis.exceptions import RedisError, ResponseError

from syncd.errors import FatalError, TransientError
from syncd.plan.both.plan import TwoWayPlan
from syncd.plan.keys.encode import encode_key_value
from syncd.plan.stream_plan import StreamPlan
from syncd.plan.to_mongo.append import AppendPlan
from syncd.plan.to_mongo.state import ABSENT, FoundKey, StatePlan
from syncd.plan.types import CapturedMembers, Written
from syncd.plan.values.raw import Unfit
from syncd.stores.mongo.codes import is_about_document
from syncd.stores.mongo.reads.joined import lookup_of
from syncd.stores.mongo.reads.lookup import Lookup
from syncd.stores.mongo.reads.replies import RAW_CODEC, documents_in
from syncd.stores.mongo.store import Document, MongoStore, code_of, translated
from syncd.stores.mongo.times import ZERO
from syncd.stores.redis.key_states import KeyStates
from syncd.stores.redis.store import RedisStore, translate

LONGEST_MS = 60_000
"""For a sample: a person waits."""


class Documents(NamedTuple):
    """Documents by ident, as a lane reads them."""

    found: dict[str, Document]
    filtered: list[str]
    """They do not match the filter."""
    missing: list[str]


class _Everything(NamedTuple):
    """All documents of a collection: see Readable."""

    namespace: tuple[str, str]
    filter: None = None
    find_projection: Mapping[str, int] = {"_id": 1}
    source: None = None


def documents_by_id(store: MongoStore, plan: StreamPlan, ids: Sequence[Any]) -> Documents:
    """These documents."""
    found: dict[str, Document] = {}
    lookup = Lookup(store, plan.documents) if isinstance(plan, TwoWayPlan) else lookup_of(store, plan)
    for _, some in lookup.in_parts(list(ids), lambda: ZERO):
        found |= some.documents
    left = [one for one in ids if encode_key_value(one) not in found]
    there = (
        Lookup(store, _Everything(plan.namespace)).by_ids(left, ZERO).documents
        if left and plan.filter
        else {}
    )
    idents = list(map(encode_key_value, left))
    return Documents(
        found, [one for one in idents if one in there], [one for one in idents if one not in there]
    )


def sampled_ids(store: MongoStore, plan: StreamPlan, count: int) -> list[Any]:
    """The `_id`s of documents by chance, of those that match the filter."""
    database, name = plan.namespace
    matching = [{"$match": dict(plan.filter)}] if plan.filter else []
    command = {
        "aggregate": name,
        "pipeline": [*matching, {"$sample": {"size": count}}, {"$project": {"_id": 1}}],
        "cursor": {"batchSize": count},
        "maxTimeMS": LONGEST_MS,
    }
    with translated():
        reply: Any = store.client[database].command(command, codec_options=RAW_CODEC)
    return [document["_id"] for document in documents_in(reply)]


def matching(store: MongoStore, database: str, plan: StreamPlan, documents: Iterable[Document]) -> Documents:
    """Those of these documents that MongoDB finds to match the filter, with what a lane reads of them. They are in
    no collection, and nothing is written: MongoDB is given them."""
    found = Documents({}, [], [])
    for document in documents:
        ident = encode_key_value(document["_id"])
        try:
            with translated():
                there = _matching(store, database, plan, document)
        except FatalError as error:
            if not is_about_document(code_of(error)):
                raise
            there = [Unfit(_id=document["_id"])]
        if there:
            found.found[ident] = there[0]
        else:
            found.filtered.append(ident)
    return found


def _matching(store: MongoStore, database: str, plan: StreamPlan, document: Document) -> list[Document]:
    wanted = (plan.documents if isinstance(plan, TwoWayPlan) else plan).find_projection
    if wanted and plan.joins:
        wanted = wanted | {join.name: 1 for join in plan.joins}  # as the person gives it
    pipeline: list[Document] = [{"$documents": {"$literal": [document]}}, {"$match": dict(plan.filter or {})}]
    pipeline += [{"$project": wanted}] if wanted else []
    command = {"aggregate": 1, "pipeline": pipeline, "cursor": {}, "maxTimeMS": LONGEST_MS}
    reply: Any = store.client[database].command(command, codec_options=RAW_CODEC)
    return documents_in(reply)


def found_key(store: RedisStore, plan: StatePlan, key: bytes) -> FoundKey:
    """What a key, or a member of one, holds at one moment."""
    if plan.of_members is not None:
        return _found_member(store, plan, plan.of_members, key)
    form: Any = plan.form
    assert isinstance(form, Written)
    name, *rest = form.read
    commands = [("MULTI",), ("TYPE", key), (name, key, *rest), ("PEXPIRETIME", key), ("EXEC",)]
    kind, content, expires = _ask(store.at_key(key), commands)[-1]
    if isinstance(content, ResponseError) or not content:
        content = None
    return plan.found(kind, int(expires), content, b"", b"") if content is not None else _without(kind)


def _found_member(store: RedisStore, plan: StatePlan, form: CapturedMembers, name: bytes) -> FoundKey:
    key, member = plan.place(name)
    kind, *said = _ask(store, [("MULTI",), ("TYPE", key), *form.ask(key, member), ("EXEC",)])[-1]
    if kind.decode() != plan.type:
        return _without(kind)
    content = form.content(said)
    return FoundKey(ABSENT if content is None else plan.type, content, None)


def _without(kind: bytes) -> FoundKey:
    """A key of another type, or none."""
    return FoundKey(kind.decode(), None, None)


def some_keys(store: RedisStore, plan: StatePlan, count: int) -> list[bytes]:
    """Keys of the contract, as SCAN comes upon them."""
    return list(islice(chain.from_iterable(KeyStates(store, plan).pages()), count))


def found_entry(store: RedisStore, plan: AppendPlan, entry: str) -> dict[bytes, bytes] | None:
    """What an entry says; None where it is not there."""
    return dict(_entries(_ask(store.at_key(plan.stream), [("XRANGE", plan.stream, entry, entry)])[0])).get(
        entry
    )


def some_entries(store: RedisStore, plan: AppendPlan, count: int) -> dict[str, dict[bytes, bytes]]:
    """The newest entries, the oldest of them first."""
    found = _ask(store.at_key(plan.stream), [("XREVRANGE", plan.stream, "+", "-", "COUNT", count)])[0]
    return dict(reversed(_entries(found)))


def _entries(reply: Any) -> list[tuple[str, dict[bytes, bytes]]]:
    if isinstance(reply, ResponseError):
        raise translate(reply)
    return [
        (name.decode(), dict(zip(said[::2], said[1::2], strict=True)))
        for name, said in reply
        if said is not None
    ]


def _ask(store: RedisStore, commands: Sequence[tuple[Any, ...]]) -> list[Any]:
    """Replies as they come: the driver makes other values of some."""
    pool = store.client.connection_pool
    try:
        connection = pool.get_connection()
        try:
            connection.send_packed_command(connection.pack_commands(commands))
            return [_reply(connection) for _ in commands]
        finally:
            pool.release(connection)
    except RedisError as error:
        raise translate(error) from error
    except OSError as error:
        raise TransientError("redis", f"no connection to Redis: {error}; is it up?") from error


def _reply(connection: Any) -> Any:
    try:
        return connection.read_response()
    except ResponseError as error:
        return error
