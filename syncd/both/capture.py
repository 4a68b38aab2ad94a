"""Which keys changed in Redis: by an outbox, or by keyspace events."""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import Collection, Mapping
from typing import NamedTuple

from syncd.both.store import TwoWayStore
from syncd.plan.both.plan import TwoWayPlan, stored
from syncd.plan.to_mongo.gone import Gone, is_deletion
from syncd.plan.to_mongo.state import FoundKey
from syncd.stores.redis.records.position import ControlKeys
from syncd.stores.redis.records.requests.lane_requests import RequestBoard
from syncd.stores.redis.store import RedisStore
from syncd.to_mongo.append.batch import Refused
from syncd.to_mongo.append.group import Backlog
from syncd.to_mongo.keyspace.listening import MOST_TAKEN, WORD_AGAIN_S, WORD_S, Listening
from syncd.to_mongo.keyspace.passing import Passing
from syncd.to_mongo.outbox.queue import MOST_ENTRIES, OutboxQueue, without_key
from syncd.to_mongo.state.comparison import Comparison
from syncd.to_mongo.state.keys.changed_keys import ChangedKey
from syncd.to_mongo.state.keys.unfit_keys import UnfitKeys
from syncd.to_mongo.state.memory import Memory
from syncd.to_mongo.state.positions import after, milliseconds, of_entry

MOST_HELD = 1000
"""While more keys than this are put back, no more of the outbox is read."""
MOST_AHEAD = 200_000
"""Keys whose last change is known from entries behind those that were taken."""


class KeyChange(NamedTuple):
    """What is known of a change in Redis."""

    deleted: bool = False
    time: int = 0
    """Epoch milliseconds; 0 where unknown."""
    lost: bool = False
    """The key expired, or was evicted, and that is no deletion."""
    entry: str = ""
    """Of the outbox."""

    @property
    def is_told(self) -> bool:
        """Whether an event or entry says why the key is not there."""
        return self.deleted or self.lost


class CapturedKeys(NamedTuple):
    """Keys to merge, and entries that name none."""

    words: dict[bytes, KeyChange]
    refused: dict[bytes, Refused]

    def only(self, keys: Collection[bytes]) -> CapturedKeys:
        """What was taken of these keys."""
        return CapturedKeys({key: word for key, word in self.words.items() if key in keys}, {})


class Capture(ABC):
    """Of one contract. Called by the merger's thread alone."""

    behind = False
    """Whether more is known to come."""

    @abstractmethod
    def begin(self) -> None:
        """Begin, before anything is taken. Raises CapabilityError, StoreError."""

    @abstractmethod
    def take(self, wait_s: float) -> CapturedKeys:
        """Changed keys; waits so long for the first, at most."""

    @abstractmethod
    def put_back(self, taken: CapturedKeys) -> None:
        """These were not done, and come again."""

    @property
    def keep_from(self) -> str:
        """The first entry of the outbox that is not done, when all that was taken is done or put back; "" for all."""
        return ""

    def latest(self, key: bytes) -> int:
        """Epoch milliseconds of the last known change of a key behind what was taken; 0 where there is none."""
        return 0

    @abstractmethod
    def decide(self, gone: Mapping[bytes, FoundKey]) -> tuple[set[bytes], set[bytes]]:
        """Of keys that are not there, without a known reason: those that were deleted, and those of which that is not
        known yet. The latter come again by themselves, or by their merge requests."""

    def forget(self, keys: Collection[bytes]) -> None:  # noqa: B027 - an outbox has nothing to forget
        """These are done."""

    @abstractmethod
    def keep(self) -> None:
        """Once a second, when the lease was touched."""

    @abstractmethod
    def backlog(self) -> Backlog:
        """What waits."""


class OutboxCapture(Capture):
    """The entries of a contract's outbox."""

    def __init__(self, queue: OutboxQueue, store: TwoWayStore) -> None:
        self._queue, self._store = queue, store
        self._last = "0-0"
        self._held: dict[bytes, KeyChange] = {}
        self._ahead: dict[bytes, int] = {}
        self._ahead_to = "0-0"

    def begin(self) -> None:
        """Tell the functions how many entries may wait."""
        self._queue.begin()

    def take(self, wait_s: float) -> CapturedKeys:
        """The first entries, each key once: the last of them counts. Of those that were put back, which stay in the
        outbox, nothing but the keys: what lies behind them is not read twice."""
        words, self._held = self._held, {}
        if not words:
            self._last = "0-0"
        has_room, wait_s = len(words) < MOST_HELD, 0.0 if words else wait_s
        entries = self._queue.take(wait_s, behind=self._last) if has_room else []
        for entry in entries:
            self._last = entry.id
            if entry.key is not None:
                words[entry.key] = KeyChange(entry.deletes, milliseconds(of_entry(entry.id)), entry=entry.id)
        if of_entry(self._last) >= of_entry(self._ahead_to):
            self._ahead, self._ahead_to = {}, self._last
        self.behind = len(entries) == MOST_ENTRIES
        return CapturedKeys(words, without_key(entries))

    def put_back(self, taken: CapturedKeys) -> None:
        """Their entries stay, and so do those behind them, until these are done."""
        self._held |= taken.words

    @property
    def keep_from(self) -> str:
        """From the first that was put back."""
        if self._held:
            return min((word.entry for word in self._held.values()), key=of_entry)
        return "" if self._last == "0-0" else after(self._last)

    def latest(self, key: bytes) -> int:
        """Reads ahead to the end of the outbox."""
        while len(self._ahead) < MOST_AHEAD:
            entries = self._queue.take(behind=self._ahead_to)
            for entry in entries:
                self._ahead_to = entry.id
                if entry.key:
                    self._ahead[entry.key] = milliseconds(of_entry(entry.id))
            if len(entries) < MOST_ENTRIES:
                break
        return self._ahead.get(key, 0)

    def decide(self, gone: Mapping[bytes, FoundKey]) -> tuple[set[bytes], set[bytes]]:
        """A deletion has an entry, in the same step. With all entries read there is none for these: they were lost."""
        return set(), set(gone) if self._store.has_newer_entry(self._last) else set()

    def keep(self) -> None:
        """What is due for the outbox."""
        self._queue.keep()

    def backlog(self) -> Backlog:
        """All entries wait."""
        return self._queue.backlog()


class KeyspaceCapture(Capture):
    """Keyspace events of changed keys: see to_mongo/keyspace/run.py. `listening` outlives runs."""

    def __init__(
        self,
        redis: RedisStore,
        plan: TwoWayPlan,
        listening: Listening,
        memory: Memory,
        requests: RequestBoard,
        policy: str,
        unfit: UnfitKeys,
    ) -> None:
        """`policy` is how Redis evicts keys."""
        self._redis, self._plan, self._listening = redis, plan, listening
        self._memory, self._policy = memory, policy
        self._unfit = unfit
        self._passing = Passing(redis, ControlKeys(plan.name), requests, listening, memory)
        self._comparison = Comparison(redis, plan.state, listening, unfit)
        self._silent: dict[bytes, float] = {}

    def begin(self) -> None:
        """Listen."""
        self._passing.begin()
        self._listening.begin(self._redis)

    def take(self, wait_s: float) -> CapturedKeys:
        """Keys of events, and, behind a gap, keys that are not as they were last agreed on."""
        self._passing.check_requests()
        self._comparison.page_is_done()  # as all that was taken before
        if not self._comparison.is_under_way:
            self._passing.answer()
        self._comparison.begin_if_due()
        taken = self._listening.changed
        found: dict[bytes, KeyChange] = {}
        if self._comparison.is_under_way:
            found = self._compare()
        elif wait_s:
            taken.wait(wait_s)
        changed = taken.take(MOST_TAKEN)
        fitting, others = self._plan.state.apart(one.key for one in changed)
        self._unfit.note(others)
        keys = set(fitting)
        mine = [one for one in changed if one.key in keys]
        found |= {one.key: self._word(one.gone, _wall(one.since)) for one in mine}
        self.behind = self._comparison.is_under_way or len(changed) == MOST_TAKEN
        return CapturedKeys(found, {})

    def _compare(self) -> dict[bytes, KeyChange]:
        keys, others = self._plan.state.apart(self._comparison.page())
        self._unfit.note(others)
        words = self._listening.changed.words(keys)
        return {key: self._word(words.get(key, Gone.NO_WORD)) for key in keys}

    def _word(self, gone: Gone, time: int = 0) -> KeyChange:
        deletes = self._deletes(gone)
        return KeyChange(deletes, time, not deletes and gone in (Gone.EXPIRED, Gone.EVICTED))

    def _deletes(self, gone: Gone) -> bool:
        return is_deletion(gone, self._plan.contract.sync.on_expire)

    def put_back(self, taken: CapturedKeys) -> None:
        """They come again, with what is known of them."""
        now = time.time()
        self._listening.changed.put_back(
            [
                ChangedKey(
                    key,
                    Gone.DELETED if word.deleted else Gone.EVICTED if word.lost else Gone.NO_WORD,
                    time.monotonic() - (now - word.time / 1000 if word.time else 0.0),
                )
                for key, word in taken.words.items()
            ]
        )

    def decide(self, gone: Mapping[bytes, FoundKey]) -> tuple[set[bytes], set[bytes]]:
        """The event may be on its way. Where none comes, the key went while the lane did not listen: its content, as it
        was, decides."""
        now = time.monotonic()
        waiting = {key for key in gone if now - self._silent.setdefault(key, now) < WORD_S}
        waiting |= self._listening.changed.words(list(gone)).keys()  # that word comes with the key
        self._listening.changed.put_back(
            [ChangedKey(key, Gone.NO_WORD, self._silent[key]) for key in waiting], delay_s=WORD_AGAIN_S
        )
        known = {key: stored(found.known)[0] for key, found in gone.items() if key not in waiting}
        said = {key: digest for key, digest in known.items() if digest.partition(":")[2]}
        why = self._memory.why_gone(said, self._policy)
        return {key for key, word in why.items() if self._deletes(word)}, waiting

    def forget(self, keys: Collection[bytes]) -> None:
        """These are done."""
        for key in keys:
            self._silent.pop(key, None)

    def keep(self) -> None:
        """Whether events still arrive."""
        self._listening.check()

    def backlog(self) -> Backlog:
        """Keys that wait."""
        return self._listening.backlog()


def _wall(since: float) -> int:
    """Epoch milliseconds of a monotonic time."""
    return round((time.time() - time.monotonic() + since) * 1000)
