"""Dead letters: changes that could not be applied, in a Redis stream a contract. None goes by itself; of one document
and projection only the newest is there.

A key of an application need not be UTF-8. In texts its other bytes are surrogates, as Python has them, and Redis gets
the key as it is."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, NoReturn, Protocol, TypeVar

from redis.exceptions import RedisError

from syncd.errors import DeadLettersFullError
from syncd.stores.paging import paged
from syncd.stores.redis.records.lost.noted_entries import NotedEntries
from syncd.stores.redis.records.lost.refused_keys import forget_refused
from syncd.stores.redis.records.position import ControlKeys, Fields
from syncd.stores.redis.store import RedisStore, translate, translated
from syncd.telemetry.dead_letters import field_of

PAGE = 500
T = TypeVar("T")


class Reason(Protocol):
    """Why something is parked: see ProjectionError."""

    @property
    def reason(self) -> str:
        """A word of DEAD_REASONS."""

    @property
    def detail(self) -> str:
        """The field and what is wrong with it."""


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """One parked change. `id` is the document's `_id` as it stands in keys, `at` epoch milliseconds."""

    entry: str
    projection: str
    key: str
    id: str
    reason: str
    detail: str
    at: int
    version: str
    change: str

    @property
    def field(self) -> str:
        """The field that `detail` names; empty where it names none."""
        return field_of(self.detail)

    @property
    def kind(self) -> Kind:
        """What it has in common with others."""
        return Kind(self.reason, self.field, self.projection)


def as_bytes(text: str) -> bytes:
    """Text of a dead letter as Redis has it."""
    return text.encode(errors="surrogateescape")


def as_text(said: bytes) -> str:
    """The reverse."""
    return said.decode(errors="surrogateescape")


class Kind(NamedTuple):
    """What dead letters have in common; None stands for any."""

    reason: str | None = None
    field: str | None = None
    projection: str | None = None

    def has(self, dead: DeadLetter) -> bool:
        """Whether a dead letter is of this kind."""
        return all(wanted in (None, one) for wanted, one in zip(self, dead.kind, strict=True))


EVERY_KIND = Kind()


def new_dead_letter(
    contract: str,
    version: str,
    *,
    projection: str,
    key: str,
    ident: str,
    why: Reason,
    change: Mapping[str, Any],
) -> list[str]:
    """Fields and values of a dead letter, as the functions of syncd take one. `change` is dumped, and holds no values
    of the document."""
    return [
        "contract", contract,
        "version", version,
        "projection", projection,
        "key", key,
        "id", ident,
        "reason", why.reason,
        "detail", why.detail,
        "at", str(round(time.time() * 1000)),
        "change", json.dumps(change),
    ]  # fmt: skip


def find_dead_letters(store: RedisStore, contract: str, entries: Sequence[str]) -> list[DeadLetter]:
    """Those of these entries that wait."""
    found: list[DeadLetter] = []
    for page in paged(entries, PAGE):
        pipe = store.client.pipeline(transaction=False)
        for entry in page:
            pipe.xrange(ControlKeys(contract, place=store.place).dead, min=entry, max=entry)
        with translated():
            replies: list[Any] = pipe.execute(raise_on_error=False)
        for reply in replies:
            if isinstance(reply, Exception):
                if "stream ID" in str(reply):  # not the name of any entry
                    continue
                raise translate(reply) if isinstance(reply, RedisError) else reply
            found += [_decode(entry.decode(), _texts(raw)) for entry, raw in reply]
    return found


def still_parked(store: RedisStore, contract: str, dead_letters: Sequence[DeadLetter]) -> int:
    """Of how many of these dead letters the document still has one, also under another entry."""
    count = 0
    for page in paged(dead_letters, PAGE):
        names = [as_bytes(f"{one.projection} {one.id}") for one in page]
        with translated():
            entries: Any = store.client.hmget(
                ControlKeys(contract, place=store.place).dead_by_document, names
            )
        count += sum(entry is not None for entry in entries)
    return count


def is_merging(store: RedisStore, contract: str, dead_letters: Sequence[DeadLetter]) -> bool | None:
    """Of a contract that goes both ways, whether the keys of these dead letters have yet to be merged; None of any
    other."""
    keys = ControlKeys(contract, place=store.place)
    with translated():
        if not store.client.hexists(keys.position, Fields.MERGED):
            return None
        requests: Any = store.client.execute_command(
            "ZMSCORE", keys.merge_requests, *(as_bytes(one.key) for one in dead_letters)
        )
    return any(request is not None for request in requests)


def fill_up(
    store: RedisStore, contract: str, keep: int, refused: Mapping[str, T], park: Callable[[list[T]], object]
) -> NoReturn:
    """Where a contract keeps only so many dead letters: has those stored for which there is room, so that a person sees
    the reason. Then the run ends. `refused`: by "projection id"."""
    with translated():
        waiting: Any = (
            store.client.hmget(
                ControlKeys(contract, place=store.place).dead_by_document, [*map(as_bytes, refused)]
            )
            if refused
            else []
        )
    new = [one for one, entry in zip(refused.values(), waiting, strict=True) if entry is None]
    if part := new[: max(0, keep - count_dead_letters(store, contract))]:
        park(part)
    raise DeadLettersFullError(contract, keep)


def dead_letters(store: RedisStore, contract: str) -> Iterator[DeadLetter]:
    """All dead letters of a contract, oldest first."""
    start = "-"
    while True:
        with translated():
            page: Any = store.client.xrange(
                ControlKeys(contract, place=store.place).dead, min=start, count=PAGE
            )
        for entry, raw in page:
            yield _decode(entry.decode(), _texts(raw))
        if len(page) < PAGE:
            return
        start = f"({page[-1][0].decode()}"


def _texts(raw: dict[bytes, bytes]) -> dict[str, str]:
    return {as_text(name): as_text(value) for name, value in raw.items()}


def _decode(entry: str, said: dict[str, str]) -> DeadLetter:
    return DeadLetter(
        entry=entry,
        projection=said.get("projection", ""),
        key=said.get("key", ""),
        id=said.get("id", ""),
        reason=said.get("reason", ""),
        detail=said.get("detail", ""),
        at=int(said.get("at", 0)),
        version=said.get("version", ""),
        change=said.get("change", "{}"),
    )


def drop_dead_letters(store: RedisStore, contract: str, entries: list[str]) -> int:
    """Remove dead letters by entry; how many there were."""
    keys, count = ControlKeys(contract, place=store.place), 0
    with translated():
        store.functions.prepare(store.client)
    for page in paged(entries, PAGE):
        if store.place:
            _forget_notes(store, contract, page)
        reply = store.call("syncd_drop", [keys.dead, keys.dead_by_document], page)
        count += int(reply[1])
    return count


def _forget_notes(store: RedisStore, contract: str, entries: Sequence[str]) -> None:
    """Of entries of a stream, and of keys, before their dead letters go: see NotedEntries, RefusedKeys."""
    by_stream: dict[str, list[str]] = {}
    refused = []
    for dead in find_dead_letters(store, contract, entries):
        change = json.loads(dead.change)
        if stream := change.get("stream"):
            by_stream.setdefault(stream, []).append(f"{dead.projection} {dead.id}")
        elif change == {"key": dead.key}:
            refused.append(as_bytes(dead.key))
    forget_refused(store, contract, refused)
    for stream, names in by_stream.items():
        NotedEntries(store, contract, stream).forget(names)


def request_replay(store: RedisStore, contract: str, entries: list[str]) -> None:
    """Ask the lane to read these documents again; it answers by removing the dead letters."""
    with translated():
        store.client.rpush(ControlKeys(contract, place=store.place).replay, *entries)


def requested_replays(store: RedisStore, contract: str, most: int, start: int = 0) -> dict[str, str]:
    """Entries that wait to be tried again, with the ident of each document; "" where the dead letter is gone.

    Those from `start` on, `most` of them.
    """
    keys = ControlKeys(contract, place=store.place)
    with translated():
        entries: Any = store.client.lrange(keys.replay, start, start + most - 1)
        dead_letters: dict[str, str] = {}
        for entry in entries:
            found: Any = store.client.xrange(keys.dead, min=entry, max=entry)
            dead_letters[entry.decode()] = as_text(found[0][1][b"id"]) if found else ""
    return dead_letters


def replays_done(store: RedisStore, contract: str, entries: list[str]) -> None:
    """Take answered requests off the list."""
    with translated():
        for entry in entries:
            store.client.lrem(ControlKeys(contract, place=store.place).replay, 0, entry)


def count_dead_letters(store: RedisStore, contract: str) -> int:
    """How many wait."""
    with translated():
        return int(store.client.xlen(ControlKeys(contract, place=store.place).dead))
