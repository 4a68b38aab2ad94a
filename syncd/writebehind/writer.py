"""Writes documents of entries, each exactly once: its `_id` is its entry's, so MongoDB refuses it the second time."""

from __future__ import annotations

from typing import Any, NamedTuple

import bson
from bson.raw_bson import DEFAULT_RAW_BSON_OPTIONS, RawBSONDocument
from pymongo import WriteConcern
from pymongo import errors as driver
from pymongo.collection import Collection
from pymongo.read_concern import ReadConcern

from syncd.errors import FatalError, StoreError, TransientError
from syncd.plan.append import AppendPlan
from syncd.stores.mongo import MongoStore, is_transient_code, translated
from syncd.writebehind.batch import Refused
from syncd.writebehind.session import MAJORITY_TIMEOUT_MS

_DUPLICATE = {11000, 11001, 12582}
_SCHEMA = 121
_OF_THE_DOCUMENT = {
    2: "BadValue", 9: "FailedToParse", 14: "TypeMismatch", 15: "Overflow", 22: "InvalidBSON", 67: "CannotCreateIndex",
    28: "PathNotViable", 52: "DollarPrefixedFieldName", 56: "EmptyFieldName", 57: "DottedFieldName",
    171: "CannotIndexParallelArrays", 10334: "BSONObjectTooLarge", 16755: "no geometry", 16804: "no point",
    17280: "KeyTooLong", 13026: "no point", 13027: "a point out of range",
}  # fmt: skip
"""Refusals that only this document meets. Source: `src/mongo/base/error_codes.yml`, and the geo indexes."""


class Written(NamedTuple):
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
            name, write_concern=WriteConcern("majority", wtimeout=MAJORITY_TIMEOUT_MS)
        )
        self._there: Collection[RawBSONDocument] = self._database.with_options(
            DEFAULT_RAW_BSON_OPTIONS
        ).get_collection(name, codec_options=DEFAULT_RAW_BSON_OPTIONS, read_concern=ReadConcern("majority"))

    def write(self, documents: list[RawBSONDocument]) -> Written:
        """Insert what is not there. Raises TransientError where it is not sure; then all may be written again."""
        written = Written(set(), {})
        if not documents:
            return written
        try:
            with translated():
                self._insert(documents, written)
        except driver.InvalidOperation as error:  # a client that is closed under a lane that is left behind
            raise TransientError("mongo", f"no answer from MongoDB: {error}") from error
        return written

    def _insert(self, documents: list[RawBSONDocument], written: Written) -> None:
        try:
            self._collection.insert_many(documents, ordered=False)
        except driver.BulkWriteError as error:
            details = error.details or {}
            if concerns := details.get("writeConcernErrors"):
                raise _unsure(concerns) from error
            self._sort_out(documents, details["writeErrors"], written)

    def _sort_out(
        self, documents: list[RawBSONDocument], errors: list[dict[str, Any]], written: Written
    ) -> None:
        twice: dict[int, dict[str, Any]] = {}
        for error in errors:
            code = int(error["code"])
            if code in _DUPLICATE:
                twice[int(error["index"])] = error
            else:
                written.refused[int(error["index"])] = refusal(code, error)
        if twice:
            self._compare(documents, twice, written)

    def _compare(
        self, documents: list[RawBSONDocument], twice: dict[int, dict[str, Any]], written: Written
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
            elif set(error.get("keyPattern", {"_id": 1})) == {"_id"}:
                raise TransientError("mongo", "a document is there but not yet on a majority; waiting for it")
            else:
                names = ", ".join(error["keyPattern"])
                detail = f"another document has the same {names}, and an index wants it unique"
                written.refused[at] = Refused("duplicate_key", detail)


def _holds(found: RawBSONDocument, wanted: RawBSONDocument) -> bool:
    """Whether it is the same, apart from what somebody has added since. NaN is only equal to itself as bytes."""
    if found.raw == wanted.raw:
        return True
    theirs, ours = bson.decode(found.raw), bson.decode(wanted.raw)
    return all(
        name in theirs and bson.encode({"": theirs[name]}) == bson.encode({"": ours[name]}) for name in ours
    )


def _unsure(concerns: list[dict[str, Any]]) -> TransientError:
    code = concerns[0].get("code")
    return TransientError(
        "mongo", f"no majority of MongoDB has acknowledged a write (code {code}); waiting for it"
    )


def code_of(error: StoreError) -> int:
    """MongoDB's code of a translated error; 0 where it has none."""
    cause = error.__cause__
    return (cause.code or 0) if isinstance(cause, driver.OperationFailure) else 0


def is_of_document(code: int) -> bool:
    """Whether only the document that is written meets this error."""
    return code in _OF_THE_DOCUMENT or code == _SCHEMA


def refusal(code: int, error: dict[str, Any]) -> Refused:
    """Why one document is refused. Its message may hold values and stays away."""
    if code == _SCHEMA:
        names = ", ".join(dict.fromkeys(_properties(error.get("errInfo", {}).get("details", {}))))
        about = f" over {names}" if names else ""
        return Refused("document_refused", f"the collection's schema validation refuses it (121){about}")
    if code in _OF_THE_DOCUMENT:
        return Refused("document_refused", f"MongoDB refuses it ({_OF_THE_DOCUMENT[code]}, {code})")
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
