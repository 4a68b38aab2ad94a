"""Which keys changed in Redis: by an outbox, or by keyspace events."""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import Collection, Mapping
from typing import Any, NamedTuple

from syncd import telemetry
from syncd.errors import FatalError
from syncd.plan.gone import Gone, why_gone
from syncd.plan.state import Found
from syncd.plan.twoway import TwoWayPlan
from syncd.stores.position import ControlKeys
from syncd.stores.redis import RedisStore, translated
from syncd.twoway.store import TwoWayStore
from syncd.writebehind.batch import Refused
from syncd.writebehind.catchup import CatchUp
from syncd.writebehind.dirty import Dirty
from syncd.writebehind.group import Backlog
from syncd.writebehind.listening import Listening
from syncd.writebehind.outbox_functions import OutboxFunctions
from syncd.writebehind.outbox_status import look
from syncd.writebehind.passing import Passing
from syncd.writebehind.positions import after, milliseconds, of_entry
from syncd.writebehind.unfit import Unfit

MOST_KEYS = 1000
MOST_HELD = 1000
"""Keys that are put back, above which no more of the outbox is read."""
MOST_AHEAD = 200_000
"""Keys of which is known when they change in entries behind those that were taken."""
SUBSCRIBED_S = 10.0
WORD_S = 2.0
"""So long a key that is not there waits for the event that says why: it is on its way, as a rule."""
LOOK_AT_OPTION_S = 5.0
_NO_KEY = Refused("foreign_key", "the entry has no field `key`")


class Word(NamedTuple):
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
        """Whether somebody said why the key is not there."""
        return self.deleted or self.lost


class Taken(NamedTuple):
    """Keys that somebody has to look at, and entries that name none."""

    words: dict[bytes, Word]
    refused: dict[bytes, Refused]

    def only(self, keys: Collection[bytes]) -> Taken:
        """What was taken of these keys."""
        return Taken({key: word for key, word in self.words.items() if key in keys}, {})


class Capture(ABC):
    """Of one contract. Called by the merger's thread alone."""

    behind = False
    """Whether more is known to come."""

    @abstractmethod
    def begin(self) -> None:
        """Before anything is taken. Raises CapabilityError, StoreError."""

    @abstractmethod
    def take(self, wait_s: float) -> Taken:
        """Changed keys; waits so long for the first, at most."""

    @abstractmethod
    def put_back(self, taken: Taken) -> None:
        """These were not done, and come again."""

    @property
    def keep_from(self) -> str:
        """The first entry of the outbox that is not done, when all that was taken is done or put back; "" for all."""
        return ""

    def latest(self, key: bytes) -> int:
        """Epoch milliseconds of the last change of a key that is told of behind what was taken; 0 where there is
        none."""
        return 0

    @abstractmethod
    def decide(self, gone: Mapping[bytes, Found]) -> tuple[set[bytes], set[bytes]]:
        """Of keys that are not there and of which nobody said why: those that were deleted, and those of which nobody
        can tell yet. The latter come again by themselves, or by their marks."""

    def forget(self, keys: Collection[bytes]) -> None:  # noqa: B027 - an outbox has nothing to forget
        """These are done."""

    @abstractmethod
    def keep(self) -> None:
        """Once a second, when the lease was touched."""

    @abstractmethod
    def backlog(self) -> Backlog:
        """What waits."""


class OutboxCapture(Capture):
    """The entries of a contract's outbox: see writebehind/outbox.py."""

    def __init__(self, redis: RedisStore, plan: TwoWayPlan, store: TwoWayStore) -> None:
        self._redis, self._plan, self._store = redis, plan, store
        self._control = ControlKeys(plan.name)
        self._functions = OutboxFunctions(redis)
        self._last = "0-0"
        self._held: dict[bytes, Word] = {}
        self._ahead: dict[bytes, int] = {}
        self._ahead_to = "0-0"

    def begin(self) -> None:
        """Tell the functions how many entries may wait."""
        wanted, client = self._plan.contract.sync.outbox_max, self._redis.client
        with translated():
            if wanted is None:
                client.delete(self._control.outbox_max)
            else:
                client.set(self._control.outbox_max, wanted)

    def take(self, wait_s: float) -> Taken:
        """The first entries, each key once: the last of them counts. Of those that were put back, which stay in the
        outbox, nothing but the keys: what lies behind them is not read twice."""
        held, self._held = self._held, {}
        if not held:
            self._last = "0-0"
        taken = Taken(dict(held), {})
        entries = self._read(0.0 if held else wait_s) if len(held) < MOST_HELD else []
        for entry, said in entries:
            self._last = entry.decode()
            key = said.get(b"key")
            if key is None:
                taken.refused[b"entry " + entry] = _NO_KEY
            else:
                time = milliseconds(of_entry(self._last))
                taken.words[key] = Word(said.get(b"op") == b"del", time, entry=self._last)
        if of_entry(self._last) >= of_entry(self._ahead_to):
            self._ahead, self._ahead_to = {}, self._last
        self.behind = len(entries) == MOST_KEYS
        return taken

    def _read(self, wait_s: float) -> list[tuple[bytes, dict[bytes, bytes]]]:
        block = ["BLOCK", max(1, round(wait_s * 1000))] if wait_s else []
        try:
            with translated():
                found: Any = self._redis.client.execute_command(
                    "XREAD", "COUNT", MOST_KEYS, *block, "STREAMS", self._control.outbox, self._last
                )
        except FatalError as error:
            if "WRONGTYPE" not in str(error):
                raise
            what = f"{self._control.outbox} is no stream; that key is syncd's: rename what is there"
            raise FatalError("redis", what) from error
        return list(found[0][1]) if found else []

    def put_back(self, taken: Taken) -> None:
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
            with translated():
                entries: Any = self._redis.client.xrange(
                    self._control.outbox, min=after(self._ahead_to), count=MOST_KEYS
                )
            for entry, said in entries:
                self._ahead_to = entry.decode()
                if key_said := said.get(b"key"):
                    self._ahead[key_said] = milliseconds(of_entry(self._ahead_to))
            if len(entries) < MOST_KEYS:
                break
        return self._ahead.get(key, 0)

    def decide(self, gone: Mapping[bytes, Found]) -> tuple[set[bytes], set[bytes]]:
        """A deletion has an entry, in the same step. With all entries read there is none for these: they were lost."""
        return set(), set(gone) if self._store.has_newer_entry(self._last) else set()

    def keep(self) -> None:
        """The functions stay loaded, and entries that somebody removed are told."""
        self._functions.ensure(self._plan.name)
        lost, another = self._store.lost()
        if another:
            telemetry.outbox_replaced(self._plan.name)
        elif lost:
            telemetry.entries_trimmed(self._plan.name, self._control.outbox, lost)

    def backlog(self) -> Backlog:
        """All entries wait."""
        return look(self._redis, self._control.outbox, "")


class KeyspaceCapture(Capture):
    """What Redis tells of changed keys: see writebehind/keyspace.py. `listening` outlives runs."""

    def __init__(
        self,
        redis: RedisStore,
        plan: TwoWayPlan,
        listening: Listening,
        passing: Passing,
        policy: str,
        unfit: Unfit,
    ) -> None:
        """`policy` is how Redis evicts keys."""
        self._redis, self._plan, self._listening, self._policy = redis, plan, listening, policy
        self._unfit = unfit
        self._passing = passing
        self._catchup: CatchUp | None = None
        self._again = False
        self._silent: dict[bytes, float] = {}
        self._looked = 0.0

    def begin(self) -> None:
        """Listen."""
        self._passing.begin()
        self._listening.begin(SUBSCRIBED_S)

    def take(self, wait_s: float) -> Taken:
        """Keys of events, and, behind a gap, keys that are not as they were last agreed on."""
        self._passing.look()
        if self._catchup is None:
            self._passing.answer()  # what was taken before is done
        if why := self._listening.gap():
            telemetry.keys_compared(self._plan.name, why, self._listening.detail)
            self._again = self._catchup is not None
            self._catchup = self._catchup or CatchUp(
                self._redis, self._plan.state, self._unfit, everything=False
            )
        taken = self._listening.dirty
        found: dict[bytes, Word] = {}
        if self._catchup is not None:
            found = self._compare(self._catchup)
        elif wait_s:
            taken.wait(wait_s)
        dirty = taken.take(MOST_KEYS)
        fitting = set(self._unfit.sort(one.key for one in dirty))
        mine = [one for one in dirty if one.key in fitting]
        found |= {one.key: self._word(one.gone, _wall(one.since)) for one in mine}
        self.behind = self._catchup is not None or len(dirty) == MOST_KEYS
        return Taken(found, {})

    def _new_catchup(self) -> CatchUp:
        return CatchUp(self._redis, self._plan.state, self._unfit, everything=False)

    def _compare(self, catchup: CatchUp) -> dict[bytes, Word]:
        keys = self._unfit.sort(catchup.page())
        words = self._listening.dirty.words(keys)
        if catchup.is_done:
            telemetry.comparison_finished(self._plan.name, catchup.compared, catchup.seconds)
            self._catchup = self._new_catchup() if self._again else None
            self._again = False
            if self._catchup is None:
                self._listening.caught_up()
        return {key: self._word(words.get(key, Gone.NO_WORD)) for key in keys}

    def _word(self, gone: Gone, time: int = 0) -> Word:
        deletes = self._deletes(gone)
        return Word(deletes, time, not deletes and gone in (Gone.EXPIRED, Gone.EVICTED))

    def _deletes(self, gone: Gone) -> bool:
        sync = self._plan.contract.sync
        return gone == Gone.DELETED or (gone == Gone.EXPIRED and sync.on_expire == "delete")

    def put_back(self, taken: Taken) -> None:
        """They come again, with what is known of them."""
        now = time.time()
        self._listening.dirty.put_back(
            [
                Dirty(
                    key,
                    Gone.DELETED if word.deleted else Gone.EVICTED if word.lost else Gone.NO_WORD,
                    time.monotonic() - (now - word.time / 1000 if word.time else 0.0),
                )
                for key, word in taken.words.items()
            ]
        )

    def decide(self, gone: Mapping[bytes, Found]) -> tuple[set[bytes], set[bytes]]:
        """The event may be on its way. Where none comes, the key went while nobody listened: what it was tells."""
        now = time.monotonic()
        waiting = {key for key in gone if now - self._silent.setdefault(key, now) < WORD_S}
        waiting |= self._listening.dirty.words(list(gone)).keys()  # that word comes with the key
        self._listening.dirty.put_back(
            [Dirty(key, Gone.NO_WORD, self._silent[key]) for key in waiting], delay_s=WORD_S / 10
        )
        decided = {key: found for key, found in gone.items() if key not in waiting}
        if not decided:
            return set(), waiting
        moment = self._redis.clock_us() // 1000
        deleted = set()
        for key, found in decided.items():
            expires = found.known.partition(" ")[0].partition(":")[2]
            if expires and self._deletes(why_gone(int(expires), moment, self._policy)):
                deleted.add(key)
        return deleted, waiting

    def forget(self, keys: Collection[bytes]) -> None:
        """These are done."""
        for key in keys:
            self._silent.pop(key, None)

    def keep(self) -> None:
        """Whether events still arrive."""
        self._listening.look()
        now = time.monotonic()
        if now - self._looked >= LOOK_AT_OPTION_S:
            self._looked = now
            self._listening.look_at_option()

    def backlog(self) -> Backlog:
        """Keys that wait."""
        return self._listening.backlog()


def _wall(since: float) -> int:
    """Epoch milliseconds of a monotonic time."""
    return round((time.time() - time.monotonic() + since) * 1000)
