"""Compares members of keys that documents share: what documents should be members of, and what is there."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from syncd.plan.keys.templates import decode_key_value
from syncd.plan.to_redis.change import Drop, Put
from syncd.plan.to_redis.compile import Plan
from syncd.plan.to_redis.member_shape import MemberShape
from syncd.plan.to_redis.shared_hash import SharedHashShape
from syncd.plan.types import MemberForm, Memberships
from syncd.reconcile.compare import ANOTHER_TYPE, CONTENT, EXTRA, MISSING, TTL, Flaw
from syncd.reconcile.reader import KeyReader
from syncd.stores.mongo.reads.lookup import Lookup
from syncd.stores.mongo.times import ZERO, Moment
from syncd.stores.paging import paged
from syncd.stores.redis.members import Member, Members
from syncd.stores.redis.records.keys.foreign_keys import foreign_among
from syncd.stores.redis.records.position import ControlKeys
from syncd.stores.redis.store import RedisStore

_ANOTHER_MAP = ("(map)",)
MOST_ASKED = 5_000
"""Members at once."""
LATE_MS = 60_000
"""So much later than their deadline the lane has removed members."""

Found = tuple[Put | Drop, str, Flaw]


def shown(key: str, member: str | bytes) -> str:
    """One member of a key, in reports."""
    text = member.decode(errors="backslashreplace") if isinstance(member, bytes) else member
    return f"{key} {text}"


def compare_members(reader: KeyReader, shape: MemberShape, writes: Sequence[Put | Drop]) -> list[Found]:
    """How what is there differs from what these writes would make of it."""
    if not shape.expires:
        return _compared(reader, shape, writes)
    now = reader.now()
    writes = [
        _once_over(write, now)
        for write in writes
        if not _is_over(write, now) or _is_over(write, now - LATE_MS)
    ]
    found = _compared(reader, shape, writes)
    now = reader.now()
    noted = {write.ident for write, _, _ in found}
    deadlines = reader.deadlines_of(shape, [write.ident for write in writes])
    found += [
        (write, write.key or "", (TTL, ()))
        for write in writes
        if write.ident not in noted and deadlines.get(write.ident, 0.0) != _deadline(write)
    ]
    return [one for one in found if not _is_over(one[0], now)]


def _deadline(write: Put | Drop) -> float:
    return float(-write.ttl) if isinstance(write, Put) else 0.0


def _is_over(write: Put | Drop, now: int) -> bool:
    """Whether a document is a member of nothing any more."""
    return isinstance(write, Put) and write.ttl < 0 and -write.ttl <= now


def _once_over(write: Put | Drop, now: int) -> Put | Drop:
    return Drop(write.shape, write.ident, None) if _is_over(write, now) else write


def _compared(reader: KeyReader, shape: MemberShape, writes: Sequence[Put | Drop]) -> list[Found]:
    said = reader.memberships_of(shape, [write.ident for write in writes])
    bars = _bars(reader, shape, writes)
    asked: list[tuple[Put | Drop, str, str, bool]] = []
    found: list[Found] = []
    for write in writes:
        known = said.get(write.ident, [])
        wanted = [
            pair
            for pair in _wanted(write)
            if pair in known or not _is_beyond(shape, write, bars.get(pair[0]))
        ]
        asked += [(write, key, member, True) for key, member in wanted]
        asked += [(write, *pair, False) for pair in known if pair not in wanted]
        if set(known) != set(wanted):
            found.append((write, write.key or "", (CONTENT, _ANOTHER_MAP)))
    flaws = [one for page in paged(asked, MOST_ASKED) for one in _flaws(reader, shape, page)]
    # The map is repaired with the members; it is a difference of its own only where they are as they should be.
    noted = {write.ident for write, _, _ in flaws}
    return flaws + [one for one in found if one[0].ident not in noted]


def _bars(reader: KeyReader, shape: MemberShape, writes: Sequence[Put | Drop]) -> dict[str, str]:
    return reader.bars_of(shape, {key for write in writes for key, _ in _wanted(write)}) if shape.keep else {}


def _is_beyond(shape: MemberShape, write: Put | Drop, bar: str | None) -> bool:
    """Whether a document may be left out of a key that holds so many members only."""
    if bar is None or not isinstance(write, Put) or not isinstance(write.content, Memberships):
        return False
    score, best = float(write.content.values[0]), float(bar)
    return score <= best if shape.keep > 0 else score >= best


def compare_fields(reader: KeyReader, shape: SharedHashShape, writes: Sequence[Put | Drop]) -> list[Found]:
    """The same of hashes that projections share, by the fields of one: a hash without any of them is missing."""
    said = reader.memberships_of(shape, [write.ident for write in writes])
    puts = [write for write in writes if isinstance(write, Put)]
    answers, now = reader.read(puts)
    found: list[Found] = []
    for put, (content, _) in zip(puts, answers, strict=True):
        if (flaw := _flaw_of(put, content, now)) is not None:
            found.append((put, put.key, flaw))
    noted = {put.ident for put, _, _ in found}
    left: list[tuple[Put | Drop, str, str]] = []
    for write in writes:
        wanted, known = set(_wanted(write)), set(said.get(write.ident, []))
        left += [
            (write, *pair) for pair in known - wanted if pair[0] != write.key or not isinstance(write, Put)
        ]
        if known != wanted and write.ident not in noted:
            found.append((write, write.key or "", (CONTENT, _ANOTHER_MAP)))
    there = reader.ask([("HEXISTS", key, name) for _, key, name in left]) if left else []
    extra = {(write.ident, key): write for (write, key, _), one in zip(left, there, strict=True) if one == 1}
    return found + [(write, key, (EXTRA, ())) for (_, key), write in extra.items()]


def _flaw_of(put: Put, content: Any, now: int) -> Flaw | None:
    form = put.shape.form
    if isinstance(content, Exception):
        return CONTENT, ANOTHER_TYPE
    names = form.differing(put, content)
    if not names:
        return None
    reply = content[0] if type(content) is tuple else content
    if all(one is None for one in reply):
        return None if form.is_over(put.content, now) else (MISSING, ())
    return CONTENT, names


def _wanted(write: Put | Drop) -> Iterator[tuple[str, str]]:
    if isinstance(write, Put) and isinstance(write.content, Memberships):
        yield from write.content.each()


def _flaws(
    reader: KeyReader, shape: MemberShape, asked: Sequence[tuple[Put | Drop, str, str, bool]]
) -> Iterator[Found]:
    form = shape.members
    commands = [form.ask(key, member) for _, key, member, _ in asked]
    replies = iter(reader.ask([command for some in commands for command in some]))
    for (write, key, member, is_wanted), some in zip(asked, commands, strict=True):
        said = [_or_none(next(replies), form.no_key) for _ in some]
        flaw: Flaw | None = None
        if any(isinstance(one, Exception) for one in said):
            flaw = (CONTENT, ANOTHER_TYPE) if is_wanted else None
        elif not form.is_there(said):
            flaw = (MISSING, ()) if is_wanted and not _is_past(write, form, member, said) else None
        elif not is_wanted:
            flaw = EXTRA, ()
        else:
            assert isinstance(write, Put) and isinstance(write.content, Memberships)
            names = form.flaws(write.content.values, said)
            flaw = (CONTENT, names) if names else None
        if flaw is not None:
            yield write, shown(key, member), flaw


def _or_none(reply: Any, no_key: str | None) -> Any:
    """What is not there, also where Redis says that as an error."""
    return None if isinstance(reply, Exception) and no_key and no_key in str(reply) else reply


def _is_past(write: Put | Drop, form: MemberForm, member: str, said: Sequence[Any]) -> bool:
    assert isinstance(write, Put) and isinstance(write.content, Memberships)
    return form.is_past(member, write.content.values, said)


class Strays(NamedTuple):
    """Members that no document has by the map."""

    of_documents: Mapping[str, Any]
    """`_id` by ident: documents that should have one of them, so that the map is wrong."""
    members: list[Member]
    """Of no document."""
    time: Moment


class StraySearch:
    """Of one contract. Only reads."""

    def __init__(self, plan: Plan, redis: RedisStore, control: ControlKeys, lookup: Lookup) -> None:
        self._plan, self._redis, self._control, self._lookup = plan, redis, control, lookup
        self._members = Members(redis, control)

    def pages(self, shape: MemberShape) -> Iterator[Strays]:
        """All of a shape, without those in keys of an application."""
        for members in self._members.unmapped(shape):
            foreign = foreign_among(self._redis, self._control, sorted({one.key for one in members}))
            yield self._judged(shape, [one for one in members if one.key not in foreign])

    def still(self, shape: MemberShape, members: list[Member]) -> list[Member]:
        """Those that are there, that no document has, and that none should have."""
        left = self._members.there_unmapped(shape, members)
        return self._judged(shape, left).members if left else []

    def _judged(self, shape: MemberShape, members: list[Member]) -> Strays:
        ids = {one.ident: decode_key_value(one.ident) for one in members if one.ident}
        found = list(self._lookup.in_parts(list(ids.values()), lambda: ZERO)) if ids else []
        documents = {ident: one for _, part in found for ident, one in part.documents.items()}
        time = max((part.time for _, part in found), default=ZERO)
        wanted, open_ = self._wanted(shape, documents, time)
        owned = {one.ident: ids[one.ident] for one in members if (one.ident, *_pair(one)) in wanted}
        strays = [one for one in members if (one.ident, *_pair(one)) not in wanted and one.ident not in open_]
        return Strays(owned, strays, time)

    def _wanted(
        self, shape: MemberShape, documents: Mapping[str, Any], time: Moment
    ) -> tuple[set[tuple[str, str, str]], set[str]]:
        """What these documents should be members of; and those of which it is not known, for they do not fit."""
        writes = self._plan.copies(documents, time)
        ours = [one for one in writes if isinstance(one, Put | Drop) and one.shape is shape]
        now = self._redis.clock_us() // 1000 if shape.expires else 0
        wanted = {(one.ident, *pair) for one in ours if not _is_over(one, now) for pair in _wanted(one)}
        return wanted, documents.keys() - {one.ident for one in ours}


def _pair(member: Member) -> tuple[str, str]:
    return member.key, member.member.decode(errors="replace")
