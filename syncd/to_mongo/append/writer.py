"""Writes documents of entries, each exactly once: its `_id` is its entry's, so MongoDB refuses it the second time."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import bson
from bson.raw_bson import DEFAULT_RAW_BSON_OPTIONS, RawBSONDocument
from pymongo import WriteConcern
from pymongo import errors as driver
from pymongo.collection import Collection
from pymongo.read_concern import ReadConcern

from syncd.errors import EventTooLargeError, FatalError, TransientError
from syncd.plan.to_mongo.append import AppendPlan
from syncd.plan.values.codec import CODEC
from syncd.stores.mongo import codes
from syncd.stores.mongo.sharding import other_key_now
from syncd.stores.mongo.store import MongoStore, code_of, is_transient_code, translated
from syncd.to_mongo.append.batch import Refused
from syncd.to_mongo.session import MAJORITY_TIMEOUT_MS

_DUPLICATE = {11000, 11001, 12582}


class EntriesWritten(NamedTuple):
    """What became of a batch, by the place in it."""

    repeated: set[int]
    """Documents that were there already."""
    refused: dict[int, Refused]


class Writer:
    """Inserts into one collection, majority acknowledged."""

    def __init__(self, mongo: MongoStore, plan: AppendPlan) -> None:
        database, name = plan.namespace
        self._database, self._name = mongo.client[database], name
        self._collection = self._database.get_collection(
            name, CODEC, write_concern=WriteConcern("majority", wtimeout=MAJORITY_TIMEOUT_MS)
        )
        self._there: Collection[RawBSONDocument] = self._database.with_options(
            DEFAULT_RAW_BSON_OPTIONS
        ).get_collection(name, codec_options=DEFAULT_RAW_BSON_OPTIONS, read_concern=ReadConcern("majority"))

    def write(self, documents: list[RawBSONDocument]) -> EntriesWritten:
        """Insert what is not there. Raises TransientError where it is not sure; then all may be written again."""
        written = EntriesWritten(set(), {})
        if not documents:
            return written
        try:
            with translated():
                self._insert(documents, range(len(documents)), written)
        except driver.InvalidOperation as error:  # a client that is closed under a lane that is left behind
            raise TransientError("mongo", f"no answer from MongoDB: {error}") from error
        return written

    def _insert(
        self, documents: list[RawBSONDocument], places: Sequence[int], written: EntriesWritten
    ) -> None:
        """Those of these places."""
        try:
            self._collection.insert_many([documents[at] for at in places], ordered=False)
        except driver.BulkWriteError as error:
            details = error.details or {}
            if concerns := details.get("writeConcernErrors"):
                raise _unsure(concerns) from error
            self._sort_out(documents, places, details["writeErrors"], written)
        except driver.OperationFailure as error:  # one document may fail the whole command
            code = error.code or 0
            if not codes.is_about_document(code):
                raise
            if len(places) == 1:
                written.refused[places[0]] = refusal(code, {})
                return
            middle = len(places) // 2
            self._insert(documents, places[:middle], written)
            self._insert(documents, places[middle:], written)

    def _sort_out(
        self,
        documents: list[RawBSONDocument],
        places: Sequence[int],
        errors: list[dict[str, Any]],
        written: EntriesWritten,
    ) -> None:
        twice: dict[int, dict[str, Any]] = {}
        for error in errors:
            code, at = int(error["code"]), places[int(error["index"])]
            if code in _DUPLICATE:
                twice[at] = error
            else:
                written.refused[at] = refusal(code, error)
        if twice:
            self._compare(documents, twice, written)

    def _compare(
        self, documents: list[RawBSONDocument], twice: dict[int, dict[str, Any]], written: EntriesWritten
    ) -> None:
        """The same document again is done. Another one under its `_id` must not pass for it."""
        ids = [documents[at]["_id"] for at in twice]
        there = {found["_id"]: found for found in self._there.find({"_id": {"$in": ids}})}
        for at, error in twice.items():
            found = there.get(documents[at]["_id"])
            if found is not None and _holds(found, documents[at]):
                written.repeated.add(at)
            elif found is not None:
                detail = "a document of the same _id is there and says something else"
                written.refused[at] = Refused("other_content", detail)
            elif (why := not_unique(error)) is None:
                raise not_yet_there()
            else:
                written.refused[at] = why


def _holds(found: RawBSONDocument, wanted: RawBSONDocument) -> bool:
    """Whether it is the same, apart from what another client has added since. NaN is only equal to itself as bytes."""
    if found.raw == wanted.raw:
        return True
    theirs, ours = bson.decode(found.raw), bson.decode(wanted.raw)
    return all(
        name in theirs and bson.encode({"": theirs[name]}) == bson.encode({"": ours[name]}) for name in ours
    )


def not_unique(error: Mapping[str, Any]) -> Refused | None:
    """Why a document is refused by an index; None where it is that of `_id`: then it is there already."""
    names = error.get("keyPattern", {"_id": 1})
    if set(names) == {"_id"}:
        return None
    detail = f"another document has the same {', '.join(names)}, and an index wants it unique"
    return Refused("duplicate_key", detail)


def not_yet_there() -> TransientError:
    """Of a document whose `_id` is taken, and that no read shows."""
    return TransientError("mongo", "a document is there but not yet on a majority; waiting for it")


def _unsure(concerns: list[dict[str, Any]]) -> TransientError:
    code = concerns[0].get("code")
    return TransientError(
        "mongo", f"no majority of MongoDB has acknowledged a write (code {code}); waiting for it"
    )


def send_statements(
    send: Callable[[list[Any]], dict[str, Any]], statements: list[Any], start: int = 0
) -> Iterator[tuple[int, dict[str, Any]]]:
    """Sends the statements of a command, and by halves where one of them fails it as a whole. Each reply comes with the
    place of its first statement; one that fails alone has a reply of its own, with its error."""
    try:
        reply = send(statements)
    except (EventTooLargeError, FatalError) as error:
        code, middle = code_of(error), len(statements) // 2
        if not codes.is_about_document(code):
            raise
        if middle == 0:
            reply = {"n": 0, "writeErrors": [{"index": 0, "code": code}]}
        else:
            yield from send_statements(send, statements[:middle], start)
            yield from send_statements(send, statements[middle:], start + middle)
            return
    yield start, reply


def refusal(code: int, error: dict[str, Any]) -> Refused:
    """Why one document is refused. Its message may hold values and stays away."""
    if code in codes.OTHER_SHARD_KEY:
        raise other_key_now()
    if code == codes.SCHEMA:
        names = ", ".join(dict.fromkeys(_properties(error.get("errInfo", {}).get("details", {}))))
        about = f" over {names}" if names else ""
        return Refused("document_refused", f"the collection's schema validation refuses it (121){about}")
    if codes.is_about_document(code):
        said = f"{codes.OF_A_DOCUMENT[code]}, {code}" if code in codes.OF_A_DOCUMENT else f"code {code}"
        return Refused("document_refused", f"MongoDB refuses it ({said})")
    if is_transient_code(code):
        raise TransientError("mongo", f"MongoDB is between two states (code {code}); waiting for it")
    raise FatalError("mongo", f"MongoDB refuses to write (code {code}); see its log")


def _properties(details: Any) -> list[str]:
    """Names of properties in MongoDB's explanation of a refusal; values stand beside them and are left out."""
    if isinstance(details, list):
        return [name for one in details for name in _properties(one)]
    if not isinstance(details, dict):
        return []
    found = [details["propertyName"]] if isinstance(details.get("propertyName"), str) else []
    found += [name for name in details.get("missingProperties", []) if isinstance(name, str)]
    inner = (value for key, value in details.items() if key not in ("specifiedAs", "consideredValue"))
    return found + [name for value in inner for name in _properties(value) if isinstance(value, dict | list)]
