"""Inserts into one time series, under the session of the contract."""

from __future__ import annotations

from typing import Any

import bson
from bson.codec_options import CodecOptions, DatetimeConversion
from bson.datetime_ms import DatetimeMS
from bson.raw_bson import RawBSONDocument
from pymongo.read_concern import ReadConcern

from syncd.errors import EventTooLargeError, FatalError
from syncd.plan.to_mongo.append import AppendPlan
from syncd.stores.mongo.codes import is_about_document
from syncd.stores.mongo.store import MongoStore, code_of, translated
from syncd.stores.paging import fitting
from syncd.to_mongo.append.batch import Refused
from syncd.to_mongo.append.writer import refusal
from syncd.to_mongo.session import MAJORITY_TIMEOUT_MS, ContractSession

MOST_BYTES = 16 * 1024 * 1024
"""Of one command: MongoDB takes three times as much."""
FORGOTTEN_MINUTES = 30
"""After which MongoDB forgets a session, unless it says otherwise."""
_EVERY_DATE: CodecOptions[dict[str, Any]] = CodecOptions(datetime_conversion=DatetimeConversion.DATETIME_MS)
_NOWHERE = 2**31 - 1
"""The place of a statement that is never run."""


class SeriesWriter:
    """A statement has the number of its batch and its place in it, and is run once. See ContractSession for errors."""

    def __init__(self, mongo: MongoStore, plan: AppendPlan, time_field: str, site: str) -> None:
        self._mongo, self._time_field = mongo, time_field
        self._database, self._name = plan.namespace
        self._session = ContractSession(mongo, plan.name, site, plan.contract.collection)

    def write(
        self, number: int, documents: list[RawBSONDocument], places: list[int]
    ) -> tuple[dict[int, Refused], int]:
        """Returns what is refused, by place, and how many were there already."""
        refused: dict[int, Refused] = {}
        repeated = 0
        pairs = zip(documents, places, strict=True)
        for part in fitting(pairs, lambda pair: len(pair[0].raw), MOST_BYTES):
            some, where = [pair[0] for pair in part], [pair[1] for pair in part]
            repeated += self._send(number, some, where, refused)
        return refused, repeated

    def _send(
        self, number: int, documents: list[RawBSONDocument], places: list[int], refused: dict[int, Refused]
    ) -> int:
        try:
            reply = self._insert(number, documents, places)
        except (EventTooLargeError, FatalError) as error:
            code = code_of(error)
            if not is_about_document(code):
                raise
            # A document that a bucket cannot hold fails the whole command.
            if len(documents) > 1:
                half = len(documents) // 2
                first = self._send(number, documents[:half], places[:half], refused)
                return first + self._send(number, documents[half:], places[half:], refused)
            refused[places[0]] = refusal(code, {})
            return 0
        for said in reply.get("writeErrors", ()):
            refused[places[said["index"]]] = refusal(int(said["code"]), said)
        return len(reply.get("retriedStmtIds", ()))

    def _insert(self, number: int, documents: list[Any], places: list[int]) -> dict[str, Any]:
        command = {"insert": self._name, "documents": documents, "ordered": False}
        return self._session.write(self._database, command, number, places)

    def fence(self, number: int) -> None:
        """From now on MongoDB refuses every smaller number. A document without a time is never written."""
        self._insert(number, [{}], [_NOWHERE])

    def there(self, documents: list[RawBSONDocument], places: list[int]) -> list[int]:
        """The places of documents that are there. Call `fence` before: what is not there then, stays away."""
        decoded = [bson.decode(document.raw, _EVERY_DATE) for document in documents]
        times = [found for one in decoded if isinstance(found := one.get(self._time_field), DatetimeMS)]
        if not times:
            return []
        wanted = {one["_id"]: place for one, place in zip(decoded, places, strict=True)}
        query = {"_id": {"$in": list(wanted)}, self._time_field: {"$gte": min(times), "$lte": max(times)}}
        # Only what a majority has stays there, and only the primary of a majority knows what is not there.
        collection = self._mongo.client[self._database].get_collection(
            self._name, read_concern=ReadConcern("linearizable")
        )
        with translated():
            found = list(collection.find(query, {"_id": 1}).max_time_ms(MAJORITY_TIMEOUT_MS))
        return [wanted[one["_id"]] for one in found]

    def keep(self) -> None:
        """MongoDB must not forget the session while a daemon that was paused may still wake up."""
        self._session.keep()

    def memory_s(self) -> float:
        """How long MongoDB remembers what it has run."""
        with translated():
            said = self._mongo.client.admin.command("hello")
        return 60.0 * (said.get("logicalSessionTimeoutMinutes") or FORGOTTEN_MINUTES)
