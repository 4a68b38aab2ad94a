"""The promises of contracts that go both ways, looked at after every write of either side."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from bson.min_key import MinKey

from tests.simulation.both.contracts import CONFLICTS, PREFIX, BothKind
from tests.simulation.both.pair import Loss, Pair, Side, State
from tests.simulation.contracts import COLLECTION, NAME
from tests.simulation.mongo.oplog import Change, Stamp
from tests.simulation.mongo.server import MongoModel
from tests.simulation.redis.data import Entry
from tests.simulation.redis.server import RedisModel
from tests.simulation.watcher import Broken, Watcher

OUTBOX, MARKS, SYNCED = (f"syncd:{{{NAME}}}:{name}".encode() for name in ("outbox", "marks", "synced"))
MERGES = (b"syncd_merge", b"syncd_agree")


class BothChecker(Watcher):
    """Of one run."""

    def __init__(self, kind: BothKind, mongo: MongoModel, note: Callable[[str], None]) -> None:
        super().__init__()
        self._kind, self._mongo, self._note = kind, mongo, note
        self._pairs: dict[str, Pair] = {}
        self._redis: RedisModel | None = None
        self._latest: Any = None
        """Which process began to write to MongoDB last, and knows that it did."""

    def _pair(self, ident: str) -> Pair:
        if ident not in self._pairs:
            self._pairs[ident] = Pair(self._kind, lambda loss: self._is_recorded(ident, loss))
        return self._pairs[ident]

    def _is_recorded(self, ident: str, loss: Loss) -> bool:
        return any(_tells(record, loss) for record in self._records() if str(record["document"]) == ident)

    def _records(self) -> Iterable[Mapping[str, Any]]:
        current = self._mongo.oplog.current
        return [one for (collection, _), one in current.items() if collection == CONFLICTS]

    # Redis.

    def _after(
        self, redis: RedisModel, args: list[bytes], before: dict[bytes, Entry | None], changed: list[str]
    ) -> None:
        self._redis = redis
        is_syncd = args[0] == b"FCALL" and args[1] in MERGES
        for key in changed:
            pair, after = self._pair(key.removeprefix(PREFIX)), self._in_redis(redis, key.encode())
            if is_syncd:
                self._write(pair, pair.redis, after)
                self._spared(key, before[key.encode()], redis.data.find(key.encode()))
            else:
                pair.application(pair.redis, after)

    def _in_redis(self, redis: RedisModel, key: bytes) -> State:
        entry = redis.data.find(key)
        if entry is None:
            return None
        if self._kind.type == "string":
            return {"value": entry.value.decode()}
        found = {
            name if isinstance(name, str) else name.decode(): value for name, value in entry.value.items()
        }
        texts = {name: value if isinstance(value, str) else value.decode() for name, value in found.items()}
        return {name: value for name, value in texts.items() if name in self._kind.fields}

    def _spared(self, key: str, before: Entry | None, after: Entry | None) -> None:
        """What the contract does not name stays."""
        if before is None or after is None or self._kind.type == "string":
            return
        name = b"own" if self._kind.type == "hash" else "own"
        if before.value.get(name) != after.value.get(name):
            raise Broken("nothing_lost", f"a member of {key} went that is not of the contract")

    # MongoDB.

    def committed(self, change: Change) -> None:
        """A majority has one more change."""
        if change.collection != COLLECTION or change.op not in ("insert", "update", "replace", "delete"):
            return
        pair = self._pair(str(change.document_id))
        after = change.after
        state = None if after is None else {name: after[name] for name in self._kind.fields if name in after}
        try:
            if change.stamp is None:
                pair.application(pair.mongo, state, is_pending=self._is_pending(change.document_id))
            else:
                self._note(f"syncd {change.op} {change.document_id} {after}")
                self._write(pair, pair.mongo, state)
        except Broken as error:  # not for whoever made it commit
            self.broken = self.broken or error

    def taken(self, stamp: Stamp, said: Mapping[str, Any]) -> None:
        """MongoDB does what a daemon says."""
        if self._latest not in (None, stamp.writer) and not _begins(said):
            self.broken = self.broken or Broken(
                "fenced", f"{stamp.writer.name} wrote to MongoDB while {self._latest.name} did"
            )

    def acknowledged(self, stamp: Stamp, said: Mapping[str, Any]) -> None:
        """MongoDB has told a daemon that it did."""
        if _begins(said):
            self._latest = stamp.writer

    def _is_pending(self, document_id: Any) -> bool:
        """Whether Redis has yet to agree to what was written of a document."""
        entry = None if self._redis is None else self._redis.data.find(SYNCED)
        record = b"" if entry is None else entry.value.get(f"{PREFIX}{document_id}".encode(), b"")
        return b'"at"' in record

    # Both.

    def _write(self, pair: Pair, side: Side, after: State) -> None:
        if self.is_at_rest and side.state != after:
            raise Broken("no_echo", f"syncd writes to {side.name} at rest: {side.state} becomes {after}")
        pair.syncd(side, after)

    def differences(self, redis: RedisModel) -> list[str]:
        """What is not the same on both sides, and what waits."""
        wrong = [
            f"{ident}: {pair.redis.state} in Redis, {pair.mongo.state} in MongoDB"
            for ident, pair in self._pairs.items() if not self._is_settled(pair)
        ]  # fmt: skip
        outbox, marks = redis.data.find(OUTBOX), redis.data.find(MARKS)
        if outbox is not None and outbox.value.entries:
            wrong.append(f"{len(outbox.value.entries)} entries wait")
        if marks is not None:
            wrong.append(f"{len(marks.value)} marks wait")
        return wrong

    def _is_settled(self, pair: Pair) -> bool:
        if pair.are_alike:
            return True
        is_removed = any(side.state is None and "" in side.touched for side in (pair.redis, pair.mongo))
        return is_removed and not self._kind.deletes

    def at_end(self, kills: int) -> None:
        """Every change that was lost is told by a record."""
        super().at_end(kills)
        for ident, pair in self._pairs.items():
            for loss in pair.unrecorded():
                raise Broken("nothing_lost", f"the record went of {loss} of {ident}")


def _begins(said: Mapping[str, Any]) -> bool:
    """Whether a command is the one that a run begins with, which changes nothing."""
    return any(
        isinstance(one, dict) and one["q"].get("_id") == {"$eq": MinKey()} for one in said.get("updates", ())
    )


def _tells(record: Mapping[str, Any], loss: Loss) -> bool:
    if not loss.name:
        return bool(record["why"] == f"deleted_in_{loss.side}")
    return any(one["field"] == loss.name and one.get(loss.side) == loss.value for one in record["fields"])
