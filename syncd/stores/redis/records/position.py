"""What a lane keeps in the target Redis: lease, position, dead letters, and its names for them.

They live beside the data, so that a Redis that fails over or is restored rolls back data and position together.
The braces make every control key of a contract share one slot.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import bson
from bson import json_util

from syncd.errors import FatalError
from syncd.plan.partition import WHOLE, Partition
from syncd.stores.mongo.reads.ranges import ALL, Range
from syncd.stores.mongo.store import Document
from syncd.stores.mongo.times import ZERO, Moment, parse, readable
from syncd.stores.redis.records.refreshes import NOTHING_JOINED, JoinedPosition
from syncd.stores.redis.store import RedisStore, translated

SNAPSHOT, SWEEP, STREAM, DIGEST = "snapshot", "sweep", "stream", "digest"
KEEP, PAUSE = "keep", "pause"
PURGE, ADOPT = "purge", "adopt"
"""What a person, or a collection that went, allows the next sweep; said with the contract that it is about."""


class Fields:
    """Names in the hash `ControlKeys.position`, of any kind of contract. lua/ has more, which it alone knows."""

    TOKEN, PHASE, COPIED, TIME = "token", "phase", "copied", "time"
    FINGERPRINT, OWNED = "fingerprint", "owned"  # these, and those above: see Position
    KIND, ORPHANED = "kind", "orphaned"
    """Which way the contract goes, and the shapes of the keys that it left behind when it turned."""
    VERSION, RELEASED = "version", "released"
    """Digest of the contract, and "1" where the lease was given back."""
    NOTED = "noted"
    """"1" where there were keys of an application, see `foreign`."""
    ACKNOWLEDGED, FIRST, PROOF = "acknowledged", "first", "proof"
    """Up to where a stream is done, and which stream it is."""
    BATCH, NUMBER, SINCE, SERVER, DOUBT = "batch", "number", "since", "server", "doubt"
    """What is being written into a time series, and up to where that is not known any more."""
    SYNCED, HEARD, CLOCK = "synced", "heard", "clock"
    """Of which keys the digests are, up to when their events are, and when keys were last read (lua/state.lua)."""
    ENTRY = "entry:"
    """Before the name of a change feed: the id of the last change that has its entry, see lua/operations/feeds.lua."""
    MERGED = "merged"
    """The latest time of a read of MongoDB that a merge used."""


def allowed(word: str, fingerprint: str) -> str:
    """`next` of a contract of this fingerprint: an edit takes the permission back."""
    return f"{word} {fingerprint}"


@dataclass(frozen=True, slots=True)
class ControlKeys:
    """Names of a contract's own keys in Redis.

    Lease, position and requests belong to one partition. All else belongs to the contract: dead letters outlive a
    change of the layout, and a key that is no function of `_id` goes from one partition to another.
    """

    contract: str
    partition: Partition = WHOLE
    place: str = ""
    """Of the node of a cluster to which they belong."""

    def __str__(self) -> str:
        return self.contract if self.partition.is_whole else f"{self.contract} {self.partition}"

    def at(self, place: str) -> ControlKeys:
        """Those of the same contract and partition that belong to another node."""
        return self if place == self.place else replace(self, place=place)

    def _name(self, suffix: str) -> str:
        return f"{self.place}syncd:{{{self.contract}}}:{suffix}"

    def _own(self, suffix: str) -> str:
        part = self.partition
        return self._name(suffix if part.is_whole else f"{part.number}of{part.count}:{suffix}")

    @property
    def layout(self) -> str:
        """Hash: into how many partitions the contract is split, see lua/. Missing where it never was."""
        return self._name("layout")

    @property
    def arranged(self) -> str:
        """Hash: for which nodes and slots of a cluster the records were last arranged, see `node_records`."""
        return self._name("arranged")

    @property
    def lease(self) -> str:
        """String "owner:epoch" with a time to live."""
        return self._own("lease")

    @property
    def said(self) -> str:
        """String with a time to live: what the holder of the lease says of itself, see `serving`."""
        return self._own("said")

    @property
    def position(self) -> str:
        """Hash, see Position."""
        return self._own("position")

    @property
    def text(self) -> str:
        """String: the file of the contract, as it was when a daemon last took it up."""
        return self._name("text")

    @property
    def edits(self) -> str:
        """List of the last files that were taken up, the latest first, as JSON, see lua/lease.lua."""
        return self._name("edits")

    @property
    def dead(self) -> str:
        """Stream of dead letters."""
        return self._name("dead")

    @property
    def dead_by_document(self) -> str:
        """Hash: "projection _id" -> entry of its dead letter."""
        return self._name("letters")

    @property
    def noted(self) -> str:
        """Set: entries of a stream whose dead letters are on another node of a cluster, see `noted_entries`."""
        return self._name("noted")

    @property
    def stale(self) -> str:
        """Set of keys that show an older state, because the later change is a dead letter."""
        return self._name("stale")

    @property
    def foreign(self) -> str:
        """Set of keys that an application had under the contract's templates before there was a contract."""
        return self._name("foreign")

    @property
    def replay(self) -> str:
        """List of dead letters, by entry, that are to be tried again."""
        return self._name("replay")

    @property
    def repair(self) -> str:
        """Set of what a check wants repaired, see `repairs`."""
        return self._name("repair")

    @property
    def reports(self) -> str:
        """List of what checks found, the newest first, as JSON."""
        return self._name("reports")

    @property
    def bulk(self) -> str:
        """Hash: how far a check in ranges is."""
        return self._name("bulk")

    @property
    def bulk_run(self) -> str:
        """String with a time to live: the check in ranges that runs."""
        return self._name("bulk:run")

    def bulk_pace(self, run: str) -> str:
        """Hash with one counter: documents that the workers of such a check compared, where it has a rate limit."""
        return self._name(f"bulk:pace:{run}")

    def digests(self, bucket: int) -> str:
        """Hash: _id -> MongoDB's digest of the document as this Redis shows it, where the contract asks for that."""
        return self._name(f"digest:{bucket}")

    @property
    def changed(self) -> str:
        """Set of documents, by _id, that changed since their digest was stored."""
        return self._own("changed")

    @property
    def requests(self) -> str:
        """List of what is asked of the lane: "snapshot", "position"."""
        return self._own("requests")

    @property
    def approved(self) -> str:
        """String: which edit of its file a person has approved, see `approvals`."""
        return self._name("approved")

    @property
    def waits(self) -> str:
        """Hash with a time to live: daemon -> the edit for whose approval it waits, see `approvals`."""
        return self._name("waits")

    @property
    def partial(self) -> str:
        """Hash: a copy of some documents that a person asked for, see `partial_copies`."""
        return self._own("partial")

    @property
    def paused(self) -> str:
        """String: since when a person has paused the contract, who and why, see `pauses`."""
        return self._name("paused")

    @property
    def outbox(self) -> str:
        """Stream in which the application notes the keys that it changed, for `capture: outbox`."""
        return self._name("outbox")

    @property
    def outbox_max(self) -> str:
        """String: how many entries may wait there, where the contract says so."""
        return self._name("outbox:max")

    @property
    def outbox_members(self) -> str:
        """String: there where its entries name members, each of which becomes a document."""
        return self._name("outbox:members")

    @property
    def indexes(self) -> str:
        """Hash: alias -> generation, fingerprint and real name, as JSON."""
        return self._name("indexes")

    @property
    def synced(self) -> str:
        """Hash: key -> digest of what MongoDB holds of it, for contracts that listen to keyspace events. Of a contract
        that goes both ways the digest, and behind it what both sides last agreed on, field by field."""
        return self._name("synced")

    @property
    def merge_requests(self) -> str:
        """Sorted set: keys that have to be merged, of a contract that goes both ways, by the time of their change."""
        return self._name("marks")

    @property
    def probe(self) -> str:
        """Scratch key, there for a moment only: whether Redis reports it."""
        return self._name("probe")

    def keys_by_id(self, projection: str, template: str) -> str:
        """Hash: _id -> key, where the key is not a function of _id. Another template has another map."""
        return self._name(f"keys:{projection}:{template}")

    def members(self, projection: str, template: str) -> str:
        """Hash: _id -> what the document is a member of, see lua/operations/members, where documents share keys."""
        return self._name(f"members:{projection}:{template}")

    def matched(self, stream: str) -> str:
        """Set: documents of which readers of a change feed know that they match the filter (lua/operations/matched)."""
        return self._name(f"matched:{stream}")

    def deadlines(self, projection: str, template: str) -> str:
        """Sorted set: _id -> the moment at which it is a member of nothing any more, see lua/operations/deadlines."""
        return self._name(f"deadlines:{projection}:{template}")

    @property
    def short(self) -> str:
        """Set: "projection key" of shared keys where members may be missing, see lua/operations/boards."""
        return self._name("short")

    def ids_by_key(self, projection: str, template: str) -> str:
        """Hash: key -> _id, the same read backwards."""
        return self._name(f"owners:{projection}:{template}")


@dataclass(slots=True)
class Position:
    """How far a lane has durably got."""

    token: Document | None = None
    """Resume token; None means that a snapshot has to begin."""
    event: Document | None = None
    """Token of the last change that was applied; `token` may be later, and stand for no change."""
    nth: int = 0
    """Which of the changes of its cluster time, from 0, that one was; for contracts with a change feed."""
    resume: Document | None = None
    """Without a token: where the stream may go on all the same, because a copy was only asked for."""
    time: Moment = ZERO
    """Cluster time of the token."""
    read_watermark: Moment = ZERO
    """Latest time of any read that was applied: a change up to here may already show. In Redis it is called `mark`."""
    phase: str = STREAM
    left: Mapping[int, Range] = field(default_factory=lambda: {0: ALL})
    """What the snapshot has yet to copy: ranges by number, each behind its last applied document."""
    copied: int = 0
    """Documents that the snapshot has applied."""
    fingerprint: str = ""
    owned: list[list[str]] = field(default_factory=list)
    """Projection, key template and type of everything this contract may have written."""
    next: str = SWEEP
    """What a snapshot does after its last document: `sweep` or `keep` the keys without one. `pause`: none may begin.
    `digest`: only documents whose digests differ need be copied. `purge` and `adopt`, see `allowed`: `sweep`, however
    many keys go; `adopt`: also those that were there before the contract."""
    deployment: str = ""
    """Of which MongoDB, see History; empty where a version before this one has stored the position."""
    witness: str = ""
    """An entry of MongoDB's oplog from before it; empty where none is known."""
    joined: JoinedPosition = NOTHING_JOINED
    """How far changes of joined documents are, of a contract with joins."""

    def allows(self, word: str) -> bool:
        """Whether the contract of this position may do what is meant by the word."""
        return self.next == allowed(word, self.fingerprint)

    @property
    def is_copying(self) -> bool:
        """Whether a copy, or its sweep, is not finished."""
        return self.phase != STREAM

    @property
    def sweeps(self) -> bool:
        """Whether keys without a document go."""
        return self.next not in (KEEP, PAUSE)

    def encoded(self) -> list[str | bytes]:
        """Fields and values for the hash."""
        return [
            "token", "" if self.token is None else json_util.dumps(self.token),
            "event", "" if self.event is None else json_util.dumps(self.event),
            "nth", str(self.nth),
            "resume", "",
            "time", readable(self.time),
            "mark", readable(self.read_watermark),
            "phase", self.phase,
            "left", b"" if self.phase == STREAM else _encoded_ranges(self.left),
            "copied", str(self.copied),
            "fingerprint", self.fingerprint,
            "owned", json.dumps(self.owned),
            "next", self.next,
            "deployment", self.deployment,
            "witness", self.witness,
            "joined", self.joined.text,
        ]  # fmt: skip


def _decode_owned(text: bytes) -> list[list[str]]:
    owned: list[list[str]] = json.loads(text)
    if not (isinstance(owned, list) and all(isinstance(entry, list) and len(entry) == 3 for entry in owned)):
        raise ValueError("not a list of projection, template and type")
    return owned


def _encoded_ranges(ranges: Mapping[int, Range]) -> bytes:
    return bson.encode({"ranges": [[number, part.after, part.upto] for number, part in ranges.items()]})


def _decode_ranges(raw: bytes) -> dict[int, Range]:
    ranges = {number: Range(after, upto) for number, after, upto in bson.decode(raw)["ranges"]}
    for part in ranges.values():
        _ = part.bounds  # raises what `load_position` knows of
    return ranges


def load_record(store: RedisStore, keys: ControlKeys) -> Position:
    """Read the position that is under this name; an empty one where there is none."""
    with translated():
        raw: dict[bytes, bytes] = store.client.hgetall(keys.position)  # type: ignore[assignment]
    try:
        return _decode(raw)
    except (ValueError, KeyError, bson.errors.InvalidBSON):
        what = f"{keys.position} does not hold a position; delete that key for a new snapshot"
        raise FatalError("redis", what) from None


def read_fields(store: RedisStore, keys: ControlKeys, *names: str) -> list[str]:
    """These fields of the position, each "" where it is not there."""
    with translated():
        said: Any = store.client.hmget(keys.position, names)
    return [text.decode() if text else "" for text in said]


def _decode(raw: dict[bytes, bytes]) -> Position:
    position = Position(
        fingerprint=raw.get(b"fingerprint", b"").decode(),
        owned=_decode_owned(raw.get(b"owned", b"[]")),
        next=raw.get(b"next", SWEEP.encode()).decode(),
    )
    if raw.get(b"token") and b"phase" in raw:
        position.token = json_util.loads(raw[b"token"].decode())
        position.phase, position.copied = raw[b"phase"].decode(), int(raw[b"copied"])
    elif raw.get(b"resume"):
        position.resume = json_util.loads(raw[b"resume"].decode())
    else:
        return position
    position.event = json_util.loads(raw[b"event"].decode()) if raw.get(b"event") else None
    position.nth = int(raw.get(b"nth") or 0)
    position.time, position.read_watermark = parse(raw[b"time"].decode()), parse(raw[b"mark"].decode())
    position.deployment = raw.get(b"deployment", b"").decode()
    position.witness = raw.get(b"witness", b"").decode()
    if position.token is None:
        return position
    position.joined = JoinedPosition.read(raw.get(b"joined", b"").decode())
    if raw.get(b"left"):
        position.left = _decode_ranges(raw[b"left"])
    return position
