"""Units of a contract with joins: changes of joined documents, and pages of the documents that show them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from syncd.plan.keys.templates import decode_key_value
from syncd.plan.to_redis.change import Elements, Write
from syncd.stores.mongo.reads.naming import Naming
from syncd.stores.mongo.store import Document
from syncd.stores.mongo.times import Moment
from syncd.stores.redis.records.position import Position
from syncd.stores.redis.records.refreshes import JoinedPosition, Named, Refresh
from syncd.to_redis.apply.apply_log import ApplyLog
from syncd.to_redis.apply.builder import Builder
from syncd.to_redis.apply.units import DocumentsUnit, Draft, Unit, UnitCall
from syncd.to_redis.apply.watermarks import Coverage

MOST_SEARCHES = 32
"""Refreshes that one page goes on with: most are of few documents."""
MOST_EXPANDED = 100
"""Joined documents that become refreshes of their own at once, where a join goes through them."""


class JoinedChangesUnit(Unit):
    """Joined documents have changed: what shows them is to be read again. Nothing is written but the position."""

    def __init__(self, collection: str, token: Document, named: list[tuple[Named, Moment]]) -> None:
        self._collection, self._token, self._named = collection, token, named

    def _draft(self, call: UnitCall) -> Draft:
        return Draft([])

    def after(self, position: Position) -> Position:
        """Behind these changes, which are noted."""
        joined = position.joined.passed(self._collection, self._token).changed(self._named)
        return replace(position, joined=joined)


class PageUnit(DocumentsUnit):
    """The next documents that show joined documents which have changed: found and read when it is built.

    A document is written as it was read, so it counts like one that a repair has read. One that is not there any more,
    or does not match the filter, has a change of its own that says so.
    """

    op = "change"

    def __init__(
        self, builder: Builder, log: ApplyLog[Unit, Any], naming: Mapping[str, Naming], size: int
    ) -> None:
        """`naming`: of the joins that the documents themselves name. `size`: documents at most."""
        self._builder, self._log, self._naming = builder, log, naming
        self.size = self._most = size
        self._moves: dict[Named, Refresh | None] = {}

    def _draft(self, call: UnitCall) -> Draft | None:
        idents, time = self._search(self._log.position.joined)
        self.size = max(1, len(idents))
        if call.unfit is not None:
            return Draft(self._dead_letters(idents, call.unfit))
        if not idents:
            return Draft([])
        ids = {ident: decode_key_value(ident) for ident in idents}
        found = self._builder.lookup.by_ids([*ids.values()], max(time, self._builder.watermarks.horizon))
        if not found.complete:
            return None
        writes: list[Write] = []
        for ident, document in found.documents.items():
            writes += self._builder.found(ident, document, found.time, self._change_of(ident))
        read = list(found.documents)
        return Draft(
            [one._replace(rewrite=False) if type(one) is Elements else one for one in writes],
            Coverage(read, found.time, read, found.time),
        )

    def _search(self, joined: JoinedPosition) -> tuple[list[str], Moment]:
        """The next documents, each once; notes how far the refreshes are then."""
        self._moves, idents, time = {}, dict[str, None](), max(joined.time, self._builder.watermarks.horizon)
        pending = [one for one in joined.pending.items() if one[0][0] in self._naming]
        for named, refresh in pending[:MOST_SEARCHES]:
            room = self._most - len(idents)
            if room <= 0:
                break
            found, time, ended = self._naming[named[0]].page(
                named[1], refresh.after, refresh.upto, room, time
            )
            idents |= dict.fromkeys(found)
            self._moves[named] = refresh.ended() if ended else refresh.moved(found[-1])
        return list(idents), time

    def after(self, position: Position) -> Position:
        """The refreshes are as far as their documents."""
        return replace(position, joined=position.joined.refreshed(self._moves))

    def _change_of(self, ident: str) -> dict[str, Any]:
        return {"operationType": "refresh", "documentKey": {"_id": decode_key_value(ident)}}

    def split(self) -> list[Unit]:
        """Two pages of half the size: the second goes on where the first ends."""
        sizes = self.size - self.size // 2, self.size // 2
        return [PageUnit(self._builder, self._log, self._naming, size) for size in sizes]


class ExpansionUnit(Unit):
    """Of a join that goes through another one: documents of that one which name a document that changed are to be
    refreshed themselves."""

    def __init__(
        self, builder: Builder, log: ApplyLog[Unit, Any], naming: Mapping[str, tuple[str, Naming]]
    ) -> None:
        """`naming`: by join the one that it goes through, and which documents of that one name a joined one."""
        self._builder, self._log, self._naming = builder, log, naming
        self._moves: dict[Named, Refresh | None] = {}
        self._named: list[tuple[Named, Moment]] = []

    def _draft(self, call: UnitCall) -> Draft:
        joined = self._log.position.joined
        self._moves, self._named = {}, []
        for named, refresh in joined.pending.items():
            if named[0] in self._naming:
                parent, naming = self._naming[named[0]]
                after = max(joined.time, self._builder.watermarks.horizon)
                found, _, ended = naming.page(named[1], refresh.after, refresh.upto, MOST_EXPANDED, after)
                self._named = [((parent, ident), refresh.since) for ident in found]
                self._moves[named] = refresh.ended() if ended else refresh.moved(found[-1])
                break
        return Draft([])

    def after(self, position: Position) -> Position:
        """One refresh is as far as those that came of it."""
        return replace(position, joined=position.joined.refreshed(self._moves).changed(self._named))
