"""Writes the state of keys into their documents: an older state never over a newer one, nothing after a successor."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from bson.raw_bson import RawBSONDocument
from pymongo.read_concern import ReadConcern

from syncd.errors import ProjectionError
from syncd.plan.keys.encode import encode_key_value
from syncd.plan.to_mongo.state import StatePlan
from syncd.plan.values.codec import CODEC
from syncd.stores.mongo.collections import require_target
from syncd.stores.mongo.ids import among
from syncd.stores.mongo.store import MongoStore, translated
from syncd.stores.paging import fitting, paged
from syncd.to_mongo.append.batch import Refused
from syncd.to_mongo.append.writer import not_unique, not_yet_there, refusal, send_statements
from syncd.to_mongo.fences import Fences
from syncd.to_mongo.session import ContractSession
from syncd.to_mongo.state.statements import Change, document, is_ours, selection, statement

MOST_STATEMENTS = 1000
MANY = 16
"""So many states at once make it worth while to ask which documents are new."""
MOST_BYTES = 16 * 1024 * 1024
_DUPLICATE = {11000, 11001, 12582}
_OTHER_SITE = Refused("other_site", "another site has written this document, see its `_syncd.site`")


@dataclass(slots=True)
class StateWritten:
    """What became of changes."""

    refused: dict[bytes, Refused] = field(default_factory=dict)
    """By key: those that never will be written."""
    ahead: str = ""
    """The latest position of documents that were left alone, because it lies behind the read."""
    late: list[Change] = field(default_factory=list)
    """The changes of these documents."""


class StateWriter:
    """Of one contract. `number` is larger than any that a daemon before has used."""

    def __init__(
        self, mongo: MongoStore, plan: StatePlan, session: ContractSession, site: str, number: int
    ) -> None:
        self._mongo, self._plan, self._session, self._site, self._number = mongo, plan, session, site, number
        self._database_name, self._name = plan.namespace
        self._database = mongo.client[self._database_name]
        self._fences = Fences(mongo, plan.namespace)
        self._tombstone = plan.contract.sync.on_delete == "tombstone"

    def begin(self) -> None:
        """Check the collection, and fence off the daemons before. Raises CapabilityError, and LaterNumberError where
        one of them came after us."""
        require_target(self._mongo, self._plan.namespace)
        self._send("update", "updates", self._fences.all())

    def keep(self) -> None:
        """Once a second."""
        self._session.keep()
        if fences := self._fences.due():
            self._send("update", "updates", fences)

    def write(self, changes: Sequence[Change]) -> StateWritten:
        """All changes, of different keys. Raises TransientError where it is not sure; then they may come again."""
        written = StateWritten()
        there = self._update(self._insert(changes, written), written)
        gone = [change for change in changes if change.update is None]
        if gone and self._plan.contract.sync.on_delete != "ignore":
            self._remove(gone, written)
        if there or written.late:
            written.late += there
            self._look_ahead(written)
        return written

    def _insert(self, changes: Sequence[Change], written: StateWritten) -> list[Change]:
        """The new documents among many: that costs MongoDB a fifth of an update. Returns what is left to do."""
        states = [change for change in changes if change.update is not None]
        if len(states) < MANY:
            return list(changes)
        known = self._there(states, level="local")
        new = [change for change in states if _name(change.id) not in known]
        done = {change.key for change in new}
        left = [change for change in changes if change.key not in done]
        return left + self._send_all("insert", "documents", new, document, written)

    def still_at(self, positions: Mapping[bytes, str]) -> list[bytes]:
        """The keys whose documents are of these positions."""
        ids = {key: self._plan.document_id(key) for key in positions if self._plan.owns(key)}
        there = (
            {name: _position(found) for name, found in self._found(list(ids.values())).items()} if ids else {}
        )
        return [key for key, document_id in ids.items() if there.get(_name(document_id)) == positions[key]]

    def _update(self, changes: Sequence[Change], written: StateWritten) -> list[Change]:
        """Returns those whose documents are there, and were left alone."""
        wanted = [change for change in changes if change.update is not None or self._tombstone]
        return self._send_all("update", "updates", wanted, statement, written)

    def _send_all(
        self,
        name: str,
        key: str,
        changes: Sequence[Change],
        build: Callable[[Change, str], RawBSONDocument],
        written: StateWritten,
    ) -> list[Change]:
        """Returns those whose `_id` is there already; what never will be written is refused."""
        built: list[tuple[Change, RawBSONDocument]] = []
        for change in changes:
            try:
                built.append((change, build(change, self._site)))
            except ProjectionError as error:
                written.refused[change.key] = Refused(error.reason, error.detail)
        there: list[Change] = []
        for part in fitting(built, lambda one: len(one[1].raw), MOST_BYTES, MOST_STATEMENTS):
            for start, reply in self._send_part(name, key, [one for _, one in part]):
                for said in reply.get("writeErrors", ()):
                    change = part[start + said["index"]][0]
                    if self._is_there(change, said, written):
                        there.append(change)
        return there

    @staticmethod
    def _is_there(change: Change, said: dict[str, Any], written: StateWritten) -> bool:
        """Whether this error says that the `_id` is there already; any other one refuses the change."""
        code = int(said["code"])
        if code not in _DUPLICATE:
            written.refused[change.key] = refusal(code, said)
        elif (why := not_unique(said)) is None:
            return True
        else:
            written.refused[change.key] = why
        return False

    def _remove(self, gone: list[Change], written: StateWritten) -> None:
        """Documents of keys that were deleted; tombstones are written by now. Some may be of a later time, as it seems:
        then Redis went back."""
        removed = 0
        for part in paged([] if self._tombstone else gone, MOST_STATEMENTS):
            statements = [{"q": selection(change, self._site), "limit": 1} for change in part]
            for at, reply in self._send_part("delete", "deletes", statements):
                removed += reply["n"]
                for error in reply.get("writeErrors", ()):
                    written.refused[part[at + error["index"]].key] = refusal(int(error["code"]), error)
        if removed < len(gone):
            there = self._there(gone)
            written.late += [
                change for change in gone
                if (found := there.get(_name(change.id))) is not None
                and (_position(found) > change.position or not is_ours(found, self._site))
            ]  # fmt: skip

    def _look_ahead(self, written: StateWritten) -> None:
        """What is another site's stays so; it says nothing of the time of this Redis."""
        there = self._there(written.late)
        if len(there) < len({_name(change.id) for change in written.late}):
            raise not_yet_there()
        ours = {name for name, found in there.items() if is_ours(found, self._site)}
        written.refused |= {
            change.key: _OTHER_SITE for change in written.late if _name(change.id) not in ours
        }
        written.late = [change for change in written.late if _name(change.id) in ours]
        written.ahead = max((_position(there[name]) for name in ours), default="")

    def _there(self, changes: Sequence[Change], level: str = "majority") -> dict[str, dict[str, Any]]:
        """What is syncd's of the documents that are there, by the text of their `_id`."""
        return self._found([change.id for change in changes], level)

    def _found(self, ids: list[Any], level: str = "majority") -> dict[str, dict[str, Any]]:
        collection = self._database.get_collection(
            self._name, codec_options=CODEC, read_concern=ReadConcern(level)
        )
        with translated():
            found = list(collection.find(among(ids), {"_syncd.pos": 1, "_syncd.site": 1}))
        return {_name(document["_id"]): document for document in found}

    def _send_part(self, name: str, key: str, statements: list[Any]) -> Iterator[tuple[int, dict[str, Any]]]:
        return send_statements(lambda part: self._send(name, key, part), statements)

    def _send(self, name: str, key: str, statements: list[Any]) -> dict[str, Any]:
        self._number += 1
        command = {name: self._name, key: statements, "ordered": False}
        return self._session.write(self._database_name, command, self._number)


def _name(document_id: Any) -> str:
    """The same for ids that MongoDB holds equal."""
    return encode_key_value(document_id)


def _position(document: dict[str, Any]) -> str:
    return str(document.get("_syncd", {}).get("pos", ""))
