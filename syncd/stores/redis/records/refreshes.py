"""How far changes of joined documents are: a token a collection, and which documents are still to be read again. Pure.

Both are a part of the position, so that they move in one step with the data: a change of a joined document is passed
in the call that notes its refresh, and a refresh moves on in the call that writes the documents which were read.

A refresh goes through the documents that name one joined document, in the order of their `_id`. Where that changes
again meanwhile, nothing begins from the start: what is ahead will be read later anyway, and what is behind is gone
through afterwards, up to where the refresh was. So a document that changes all the time cannot keep the last ones
from their turn.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, NamedTuple, TypeAlias

from bson import json_util

from syncd.stores.mongo.store import Document
from syncd.stores.mongo.times import ZERO, Moment

Named: TypeAlias = tuple[str, str]
"""A join, and the ident of a document that it joins."""


class Refresh(NamedTuple):
    """What is left of one. Idents, of which one is empty; None: from the start, to the end, and nothing more."""

    since: Moment
    """Of the first change that not all documents show."""
    after: str | None = None
    upto: str | None = None
    again: str | None = None
    """Once the end is reached it goes through all once more, up to here."""
    later: str = ""
    """The moment of the first change since it began to go through."""

    def changed_again(self, time: Moment) -> Refresh:
        """The joined document has changed meanwhile."""
        if self.after is None:
            return Refresh(self.since)
        return Refresh(self.since, self.after, None, self.after, self.later or time)

    def moved(self, last: str) -> Refresh:
        """Everything up to `last` is read."""
        return self._replace(after=last)

    def ended(self) -> Refresh | None:
        """Everything to the end of this pass is read. None: and there is no other."""
        return None if self.again is None else Refresh(self.later, None, self.again)


@dataclass(frozen=True)
class JoinedPosition:
    """Of one lane."""

    tokens: Mapping[str, Document] = field(default_factory=dict)
    """By collection: all changes up to there are done, or in `pending`."""
    time: Moment = ZERO
    """Of the last of these changes, or of where the streams began: no document is read as it was before it."""
    pending: Mapping[Named, Refresh] = field(default_factory=dict)
    """The next one first."""

    def passed(self, collection: str, token: Document) -> JoinedPosition:
        """A stream is at `token`, and brought nothing."""
        return replace(self, tokens={**self.tokens, collection: token})

    def changed(self, named: Iterable[tuple[Named, Moment]]) -> JoinedPosition:
        """Joined documents have changed."""
        pending, latest = dict(self.pending), self.time
        for one, time in named:
            known = pending.get(one)
            pending[one] = Refresh(time) if known is None else known.changed_again(time)
            latest = max(latest, time)
        return replace(self, pending=pending, time=latest)

    def refreshed(self, moves: Mapping[Named, Refresh | None]) -> JoinedPosition:
        """Refreshes moved on; None: to their end. One that has more to do lets the others go first."""
        pending = {one: refresh for one, refresh in self.pending.items() if one not in moves}
        pending |= {one: refresh for one, refresh in moves.items() if refresh is not None}
        return replace(self, pending=pending)

    @property
    def since(self) -> Moment | None:
        """The first change that not all documents show."""
        return min((refresh.since for refresh in self.pending.values()), default=None)

    @cached_property
    def text(self) -> str:
        """As it is stored; "" for a contract without joins."""
        if not self.tokens:
            return ""
        pending = [[*one, *refresh] for one, refresh in self.pending.items()]
        return json.dumps([json_util.dumps(self.tokens), self.time, pending], separators=(",", ":"))

    @classmethod
    def read(cls, text: str) -> JoinedPosition:
        """What was stored. Raises ValueError."""
        if not text:
            return NOTHING_JOINED
        said: Any = json.loads(text)
        tokens, time, pending = said
        found = {(join, ident): Refresh(*rest) for join, ident, *rest in pending}
        return cls(json_util.loads(tokens), time, found)


NOTHING_JOINED = JoinedPosition()


def earliest_joined(parts: Sequence[JoinedPosition]) -> JoinedPosition:
    """What all of these say, of the nodes of a cluster. A refresh of which they do not say the same begins from the
    start, for some have yet to show what others do."""
    first = parts[0]
    if all(part == first for part in parts):
        return first
    collections = first.tokens.keys() & set.intersection(*({*part.tokens} for part in parts))
    tokens = {
        name: min((part.tokens[name] for part in parts), key=lambda token: str(token.get("_data")))
        for name in collections
    }
    pending: dict[Named, Refresh] = {}
    for named in dict.fromkeys(named for part in parts for named in part.pending):
        said = [part.pending.get(named) for part in parts]
        there = [refresh for refresh in said if refresh is not None]
        is_same = all(refresh == there[0] for refresh in said)
        pending[named] = there[0] if is_same else Refresh(min(refresh.since for refresh in there))
    return JoinedPosition(tokens, max(part.time for part in parts), pending)
