"""What an empty Redis would hold after the writes of some documents. Pure.

What a document had goes when it gets something else, as the functions in Redis do it by the records of its keys. Those
records, refusals and the search are not here: a preview is about what documents become.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from typing import Any, TypeAlias

from syncd.plan.to_redis.change import GONE, OUT, Dead, Drop, Elements, Entry, Judged, Put, Write
from syncd.plan.to_redis.change_feed import DELETE, ENTER, LEAVE, UPDATE
from syncd.plan.types import MemberForm
from syncd.preview.documents import entry_of, key_of, members_of
from syncd.preview.outcome import DeadShown, EntryShown, MemberShown

Owner: TypeAlias = tuple[str, str]
"""Projection and document."""


@dataclass(frozen=True, slots=True)
class Held:
    """What one key holds."""

    content: Any
    """See `Written.shown`; of shared keys members and what each has, of change feeds a list of entries."""
    ttl: int = 0
    """As a `Put` has it."""
    moments: dict[str, int] = field(default_factory=dict)
    """When fields expire, in epoch ms."""
    is_json: bool = False
    """Whether values have types; else they are texts."""


class HeldKeys:
    """All keys."""

    def __init__(self) -> None:
        self.dead: list[DeadShown] = []
        self._keys: dict[str, dict[Owner, Held]] = {}
        """By whose they are: projections may share a hash."""
        self._of: dict[Owner, set[str]] = {}
        self._members: dict[str, dict[str, MemberShown]] = {}
        self._memberships: dict[Owner, list[tuple[str, str]]] = {}
        self._feeds: dict[str, list[Any]] = {}
        self._matched: dict[str, set[str]] = {}
        """Of feeds with a filter: the documents of which readers know."""

    def apply(self, writes: Iterable[Write]) -> None:
        """In their order."""
        for write in writes:
            form = write.shape.form if isinstance(write, Put) else None
            if isinstance(write, Put) and isinstance(form, MemberForm) and not form.is_one_key:
                self._join(write)
            elif isinstance(write, Put):
                self._put((write.shape.name, write.ident), [write])
            elif isinstance(write, Elements):
                self._put((write.shape.name, write.ident), write.puts)
            elif isinstance(write, Drop):
                self._drop((write.shape.name, write.ident), write.key)
            elif isinstance(write, Entry):
                self._append(entry_of(write))
            elif isinstance(write, Judged):
                self._judge(write)
            elif isinstance(write, Dead):
                self.dead.append(DeadShown(write.projection, write.reason, write.detail))

    def _append(self, entry: EntryShown) -> None:
        self._feeds.setdefault(entry.key, []).append(entry.fields)

    def _judge(self, write: Judged) -> None:
        """What a change is for readers of a feed with a filter, as lua/operations/matched.lua decides it."""
        matched, entry = self._matched.setdefault(write.shape.name, set()), entry_of(write)
        op, is_in = _becomes(write.state, entry.fields["op"], write.ident in matched)
        (matched.add if is_in else matched.discard)(write.ident)
        if op is not None and op in write.shape.wanted:
            self._append(entry._replace(fields={**entry.fields, "op": op}))

    def _put(self, owner: Owner, puts: Iterable[Put]) -> None:
        shown = {put.key: (put, key_of(put)) for put in puts}
        for key in self._of.get(owner, set()) - shown.keys():
            self._keys.get(key, {}).pop(owner, None)
        self._of[owner] = set(shown)
        for key, (put, one) in shown.items():
            held = Held(one.content, one.ttl, dict(one.moments), put.shape.form.as_json)
            self._keys.setdefault(key, {})[owner] = held

    def _drop(self, owner: Owner, key: str | None) -> None:
        for one in {*self._of.pop(owner, ()), *([key] if key is not None else [])}:
            self._keys.get(one, {}).pop(owner, None)
        self._leave(owner)

    def _leave(self, owner: Owner) -> None:
        for key, member in self._memberships.pop(owner, ()):
            self._members[key].pop(member, None)

    def _join(self, write: Put) -> None:
        owner = write.shape.name, write.ident
        self._leave(owner)
        members = members_of(write)
        self._memberships[owner] = [(one.key, one.member) for one in members]
        for one in members:
            self._members.setdefault(one.key, {})[one.member] = one

    def at(self, now: int | None) -> dict[str, Held]:
        """What is there at a moment in epoch ms; None: nothing has expired."""
        found: dict[str, Held] = {}
        for key, parts in self._keys.items():
            for held in parts.values():
                left = held if now is None else _left(held, now)
                if left is not None:
                    found[key] = _joined(found[key], left) if key in found else left
        for key, members in self._members.items():
            if (shared := _shared(members.values(), now)) is not None:
                found[key] = shared
        return found | {key: Held(entries) for key, entries in self._feeds.items()}


def _becomes(state: str, op: str, before: bool) -> tuple[str | None, bool]:
    """`op` of the entry, or None, and whether readers know then that the document matches."""
    if op == DELETE or state == GONE:
        return (op if before else None), before and op != DELETE
    if state == OUT:
        return (LEAVE if before else None), False
    return (op if before or op != UPDATE else ENTER), True


def _shared(members: Iterable[MemberShown], now: int | None) -> Held | None:
    """A key that documents share: without members that have expired, and those beyond how many it keeps."""
    there = [one for one in members if now is None or one.ttl == 0 or -one.ttl > now]
    if not there:
        return None
    if keep := there[0].keep:
        there.sort(key=lambda one: (one.content, one.member.encode()))
        there = there[-keep:] if keep > 0 else there[:-keep]
    content = {one.member: one.content for one in there}
    return Held(_plain(content), moments={one.member: -one.ttl for one in there if one.ttl})


def _plain(members: dict[str, Any]) -> Any:
    """Of a set there are members alone."""
    return frozenset(members) if all(one is None for one in members.values()) else members


def _joined(one: Held, other: Held) -> Held:
    """A hash that two projections share."""
    return replace(other, content={**one.content, **other.content}, moments={**one.moments, **other.moments})


def _left(held: Held, now: int) -> Held | None:
    """What of a key has not expired."""
    if held.ttl < 0 and -held.ttl <= now:
        return None
    gone = {name for name, at in held.moments.items() if at <= now}
    if not gone:
        return held
    content = {name: value for name, value in held.content.items() if name not in gone}
    return replace(held, content=content) if content else None
