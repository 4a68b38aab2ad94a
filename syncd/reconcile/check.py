"""Compares all documents of a contract with all its keys. Only reads; the lane does the repairs."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Collection, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, TypeVar

from pymongo.read_preferences import _ServerMode

from syncd.plan.keys.templates import decode_key_value, encode_key_value, parse_key
from syncd.plan.partition import WHOLE, Partition
from syncd.plan.to_redis.change import Drop, Retired
from syncd.plan.to_redis.compile import Plan
from syncd.plan.to_redis.member_shape import MemberShape
from syncd.plan.to_redis.shape import Shape
from syncd.plan.values.raw import Unfit
from syncd.reconcile.base import BaseCheck
from syncd.reconcile.compare import DEAD, EXPIRED, EXTRA, KINDS, NO_KEY
from syncd.reconcile.confirmation import Candidate, Confirmation
from syncd.reconcile.document_comparison import Difference, DocumentComparison
from syncd.reconcile.lanes import Lanes
from syncd.reconcile.member_comparison import StraySearch, shown
from syncd.reconcile.nodes_reader import reader_of
from syncd.reconcile.repair import Repairer
from syncd.reconcile.report import ReconcileReport
from syncd.stores.mongo.reads.joined import lookup_of
from syncd.stores.mongo.reads.ranges import ALL, Range
from syncd.stores.mongo.store import Document, MongoStore
from syncd.stores.mongo.times import ZERO, Moment
from syncd.stores.redis.members import Member
from syncd.stores.redis.records.keys.foreign_keys import foreign_among
from syncd.stores.redis.records.keys.key_maps import KeyMaps, holders
from syncd.stores.redis.records.position import ControlKeys
from syncd.stores.redis.records.requests.repairs import of_document, of_key, of_member
from syncd.stores.redis.scan import Candidate as Scanned
from syncd.stores.redis.scan import KeyScan
from syncd.stores.redis.store import RedisStore

Item = TypeVar("Item")


@dataclass(frozen=True)
class Order:
    """What a check is to do."""

    repair: bool = False
    by_digest: bool = False
    """Whether to compare in full only what differs by digests; see `digest`."""
    chunk: int = 2000
    """Documents read at once."""
    rate: float = 0.0
    """Documents a second at most; 0: as fast as it goes."""
    wait_s: float = 30.0
    """How long to wait for a lane to come up, or to repair."""
    partition: Partition = WHOLE
    read_preference: _ServerMode | None = None
    documents: Range | None = ALL
    """Which documents to compare with their keys; None: none of them."""
    keys: bool = True
    """Whether to search for keys without a document."""


class Check(BaseCheck):
    """Of a contract from MongoDB to Redis."""

    kind = "full"

    def __init__(
        self,
        plan: Plan,
        mongo: MongoStore,
        redis: RedisStore,
        order: Order,
        stop: threading.Event,
        may_go_on: Callable[[], str] = lambda: "",
    ) -> None:
        """`may_go_on` returns the reason the check has to end, or an empty string."""
        super().__init__(stop, may_go_on)
        self._plan, self._mongo, self._redis, self._order = plan, mongo, redis, order
        control = self._control = ControlKeys(plan.name, order.partition, redis.place)
        self._lookup = lookup_of(mongo, plan, order.partition, order.read_preference)
        self._reader = reader_of(redis, control)
        self._maps = KeyMaps(redis, control)
        self._comparison = DocumentComparison(plan, self._reader, self._maps)
        self._scan = KeyScan(redis, control)
        self._lanes = Lanes(redis, plan, stop, order.wait_s)
        self._confirmation = Confirmation(self._lookup, self._comparison, self._lanes, stop)
        self._repairer = Repairer(redis, plan.name, stop, order.wait_s)
        self._candidates: dict[str, Candidate] = {}
        self._orphans: dict[str, Difference] = {}
        self._search = StraySearch(plan, redis, control, self._lookup)
        self._strays: dict[tuple[str, Member], Difference] = {}
        self.report = ReconcileReport(
            plan.name, self.kind, order.repair, str(order.partition), plan.not_compared
        )

    def _unready(self) -> str:
        return self._lanes.unready()

    @property
    def _open(self) -> int:
        return len(self._candidates) + len(self._orphans) + len(self._strays)

    def _steps(self) -> Iterator[None]:
        """Compare everything, a page at a time."""
        if self._order.documents is not None:
            yield from self._documents(self._order.documents)
        if not self._order.keys or self._plan.contract.sync.on_delete == "ignore":
            return
        for shape in self._plan.shapes:
            retired = Retired(shape.name, shape.type, shape.template)
            yield from self._extra(retired)
            if isinstance(shape, MemberShape):
                yield from self._stray(shape)
            elif not shape.by_id:
                yield from self._unheld(shape, retired)

    def _documents(self, which: Range) -> Iterator[None]:
        started = time.monotonic()
        for documents, time_of in _ahead(self._chunks(which)):
            self._compare({encode_key_value(d["_id"]): d for d in documents}, time_of)
            self.report.documents += len(documents)
            self.report.compared += len(documents)
            yield
            self._pace(self.report.documents, started)

    def _pace(self, documents: int, started: float) -> None:
        """Wait where so many documents since `started` are more than the rate allows."""
        if self._order.rate:
            self._stop.wait(max(0.0, documents / self._order.rate - (time.monotonic() - started)))

    def _chunks(self, which: Range) -> Iterator[tuple[list[Document], Moment]]:
        cursor, last = which.bounds
        time_of = ZERO
        while True:
            documents, time_of = self._lookup.chunk(cursor, self._order.chunk, time_of, last)
            if not documents:
                return
            yield documents, time_of
            cursor = {"_id": documents[-1]["_id"]}

    def _compare(self, documents: Mapping[str, Document | None], moment: Moment) -> Collection[str]:
        """Returns the idents of documents whose keys differ."""
        self.report.note_unfit([ident for ident, one in documents.items() if isinstance(one, Unfit)])
        differing = self._comparison.differing(documents, moment)
        for ident, found in differing.items():
            self.report.expired += sum(difference.kind == EXPIRED for difference in found.differences)
            self.report.dead_letters += sum(difference.kind == DEAD for difference in found.differences)
            if any(difference.kind in KINDS for difference in found.differences):
                self._candidates[ident] = Candidate(ident, decode_key_value(ident), found.wanted, moment)
        return differing.keys()

    def _extra(self, shape: Retired) -> Iterator[None]:
        """Keys whose document is gone."""
        for scanned in _ahead(self._scan.candidates(shape)):
            candidates = self._without_foreign(scanned)
            ids = [document_id for _, document_id in candidates]
            found = self._lookup.there(ids, ZERO)
            gone = {drop.ident: i for drop, i in candidates if drop.ident not in found.documents}
            own = self._lookup.own(list(gone.values()))
            lost = {ident: i for (ident, i), ours in zip(gone.items(), own, strict=True) if ours}
            for ident, wanted in self._comparison.wanted(dict.fromkeys(lost), found.time).items():
                self._candidates.setdefault(ident, Candidate(ident, lost[ident], wanted, found.time))
            self.report.keys += len(candidates)
            yield

    def _without_foreign(self, candidates: list[Scanned]) -> list[Scanned]:
        """Foreign keys, those that were there before the contract, are not compared."""
        keys = [drop.key for drop, _ in candidates if drop.key is not None]
        foreign = foreign_among(self._redis, self._control, keys)
        return [one for one in candidates if one[0].key not in foreign]

    def _unheld(self, shape: Shape, retired: Retired) -> Iterator[None]:
        """Keys of the template's form that the maps assign to no document; MongoDB is asked whose they are."""
        if not self._order.partition.leads:
            return
        for page in self._scan.keys(retired):
            keys = [key.decode() for key in page if parse_key(shape.template, key) is not None]
            foreign = foreign_among(self._redis, self._control, keys)
            ours = [key for key in keys if key not in foreign]
            unsound = [held.key for held in self._maps.of(retired, ours) if not held.is_sound]
            for found in holders(self._lookup, shape, unsound, ZERO):
                for key, documents in found.by_key.items():
                    self._note_unheld(shape, key, documents, found.time)
            self.report.keys += len(keys)
            yield

    def _note_unheld(self, shape: Shape, key: str, documents: Mapping[str, Any], time_of: Moment) -> None:
        if not documents:
            self._orphans[key] = Difference(shape.name, key, EXTRA, ())
        for ident, document_id in documents.items():
            # `wanted` of nothing: the document is read when the difference is confirmed.
            self._candidates.setdefault(ident, Candidate(ident, document_id, b"", time_of))

    def _stray(self, shape: MemberShape) -> Iterator[None]:
        """Members of shared keys that the map assigns to no document."""
        for page in self._search.pages(shape) if self._order.partition.leads else ():
            for ident, document_id in page.of_documents.items():
                self._candidates.setdefault(ident, Candidate(ident, document_id, b"", page.time))
            for one in page.members:
                difference = Difference(shape.name, shown(one.key, one.member), EXTRA, ())
                self._strays[shape.name, one] = difference
            yield

    def _still_stray(
        self, strays: dict[tuple[str, Member], Difference]
    ) -> dict[tuple[str, Member], Difference]:
        found = []
        for shape in self._plan.shapes:
            mine = [member for name, member in strays if name == shape.name]
            if mine and isinstance(shape, MemberShape):
                found += [(shape.name, member) for member in self._search.still(shape, mine)]
        return {one: strays[one] for one in found}

    def _confirm(self) -> None:
        """Report the differences that a second comparison confirms, and have the lane repair them if asked for."""
        candidates, orphans = self._candidates, self._still_unheld(list(self._orphans.values()))
        strays = self._still_stray(self._strays)
        self._candidates, self._orphans, self._strays = {}, {}, {}
        real, unconfirmed = self._confirmation.confirm(list(candidates.values()))
        self.report.unsettled += len(unconfirmed)
        drift = self._without_dead_letters(real)
        found = [difference for of_one in drift.values() for difference in of_one] + orphans
        found += strays.values()
        self.report.note_drift(found)
        if self._order.repair and found:
            left = self._repair({ident: candidates[ident].id for ident in drift}, orphans, strays)
            self.report.repaired += max(0, len(found) - left)

    def _repair(
        self, ids: dict[str, Any], orphans: list[Difference], strays: dict[tuple[str, Member], Difference]
    ) -> int:
        """Have the lane repair these documents and keys; returns how many keys still differ."""
        entries = [of_document(ident) for ident in ids]
        entries += [of_key(difference.projection, difference.key) for difference in orphans]
        self._repairer.ask(entries + [of_member(name, *member) for name, member in strays])
        again = [
            Candidate(ident, ids[ident], one.wanted, found.time)
            for idents, found in self._confirmation.read_pages(list(ids.values()))
            for ident, one in self._comparison.differing(found.of(idents), found.time).items()
        ]
        real, open_ = self._confirmation.confirm(again)
        # One that could not be confirmed does not count as repaired.
        still = sum(difference.kind in KINDS for of_one in real.values() for difference in of_one)
        return still + len(open_) + len(self._still_unheld(orphans)) + len(self._still_stray(strays))

    def _without_dead_letters(self, real: dict[str, list[Difference]]) -> dict[str, list[Difference]]:
        """A difference that a dead letter or an expiry explains is no drift."""
        drift = {
            ident: [difference for difference in of_one if difference.kind in KINDS]
            for ident, of_one in real.items()
        }
        pairs = [(difference.projection, ident) for ident, of_one in drift.items() for difference in of_one]
        dead = self._reader.with_dead_letter(pairs)
        self.report.dead_letters += len(dead)
        left = {
            ident: [difference for difference in of_one if (difference.projection, ident) not in dead]
            for ident, of_one in drift.items()
        }
        return {ident: of_one for ident, of_one in left.items() if of_one}

    def _still_unheld(self, orphans: list[Difference]) -> list[Difference]:
        """The keys that are there and have a document neither by the maps nor by MongoDB."""
        found: list[Difference] = []
        for shape in self._plan.shapes:
            by_key = {
                difference.key: difference for difference in orphans if difference.projection == shape.name
            }
            if not by_key:
                continue
            there, _ = self._reader.read([Drop(shape, "", key) for key in by_key])
            left = [key for key, (_, expires) in zip(by_key, there, strict=True) if expires != NO_KEY]
            unsound = [held.key for held in self._maps.of(shape, left) if not held.is_sound]
            for page in holders(self._lookup, shape, unsound, ZERO):
                found += [by_key[key] for key, documents in page.by_key.items() if not documents]
        return found


def _ahead(items: Iterator[Item]) -> Iterator[Item]:
    """The same items; the next one is fetched while the last one is worked on."""
    with ThreadPoolExecutor(1, "ahead") as thread:
        coming = thread.submit(next, items, None)
        while (item := coming.result()) is not None:
            coming = thread.submit(next, items, None)
            yield item
