"""Reads what a snapshot has yet to copy, range by range: itself, or by workers of a pool.

Workers only read and project. All that reaches Redis comes from the lane, under its lease, behind the changes that the
stream brought meanwhile. So a worker that dies, hangs or answers late harms nothing, and its piece is read again.
"""

from __future__ import annotations

import contextlib
import queue
import time
from collections import deque
from collections.abc import Iterator, Mapping
from concurrent.futures import BrokenExecutor, CancelledError, Executor, Future
from dataclasses import dataclass
from typing import TypeAlias

from syncd import telemetry
from syncd.executors.pool import Pool
from syncd.executors.proof import identity
from syncd.plan.partition import Partition
from syncd.plan.stream_plan import StreamPlan
from syncd.plan.to_redis.encoded_writes import EncodedWrites, unpack
from syncd.plan.values.raw import encode
from syncd.stores.messages import described
from syncd.stores.mongo.reads.lookup import Lookup
from syncd.stores.mongo.reads.ranges import ALL, Range, cut, ranges_between
from syncd.stores.mongo.store import Document, MongoStore
from syncd.stores.mongo.times import Moment
from syncd.to_redis.apply.watermarks import Watermarks
from syncd.to_redis.copy.piece import Made, Piece, make

AT_ONCE = 16
"""Pieces under way: so many workers are more than one Redis can take the work of."""
RANGES = 64
CHUNKS_A_RANGE = 5
"""At least: a small collection has fewer ranges."""
FIRST_SIZE = 200
SMALL, LARGE = 512 * 1024, 2 * 1024 * 1024
"""Bytes of a piece's writes between which its size is right: AT_ONCE of them are in memory."""
LATE_S = 30.0
"""A piece takes some hundredths of a second."""
TICK_S = 0.5


@dataclass(frozen=True, slots=True)
class Chunk:
    """Documents in `_id` order, all as they were at `time`; none where a filter let none through so far."""

    documents: list[Document]
    time: Moment
    number: int | None = None
    """Of the range that they are the first of; None: they were looked up one by one."""
    oldest: Moment | None = None
    """No chunk that is still to come is older; None: than this one."""


@dataclass(frozen=True, slots=True)
class Ready:
    """The same from a worker: writes by document."""

    encoded_writes: EncodedWrites
    sources: Mapping[str, tuple[int | None, int]]
    time: Moment
    number: int
    end: bytes
    oldest: Moment


@dataclass(frozen=True, slots=True)
class Cut:
    """The collection is copied in these ranges."""

    ranges: Mapping[int, Range]


@dataclass(frozen=True, slots=True)
class RangeEnd:
    """All of a range was handed over."""

    number: int


@dataclass(frozen=True, slots=True)
class Pause:
    """Nothing to do yet."""


Copied: TypeAlias = Chunk | Ready | Cut | RangeEnd | Pause


class Reads:
    """Moments of reads. Each is at or after all that the stream wrote, and all that was read before."""

    def __init__(self, watermarks: Watermarks) -> None:
        self._watermarks, self._time = watermarks, watermarks.horizon

    def after(self) -> Moment:
        """For the next read."""
        self._time = max(self._time, self._watermarks.horizon)
        return self._time

    def saw(self, time: Moment) -> None:
        """When a read happened."""
        self._time = max(self._time, time)


class Copier:
    """Of one snapshot, used by one thread."""

    def __init__(
        self,
        plan: StreamPlan,
        mongo: MongoStore,
        lookup: Lookup,
        partition: Partition,
        watermarks: Watermarks,
        reads: Reads,
        pool: Pool | None,
        size: int,
        *,
        digests: bool,
    ) -> None:
        """`size`: documents of a chunk. `digests`: they come with theirs."""
        self._plan, self._mongo, self._lookup, self._partition = plan, mongo, lookup, partition
        self._watermarks, self._reads, self._pool = watermarks, reads, pool
        self._size, self._digests = size, digests
        self._piece_size = min(size, FIRST_SIZE)
        self._left: dict[int, Range] = {}
        self._idle: deque[int] = deque()
        """Ranges that no worker reads at present, the next one first."""
        self._executor: Executor | None = None
        self._waiting: dict[Future[Made], tuple[Piece, float]] = {}
        """Pieces that workers have, and since when."""
        self._ended: queue.SimpleQueue[Future[Made]] = queue.SimpleQueue()
        self._heard = 0.0
        """When a worker answered last."""
        self._whose = ""

    def items(self, left: Mapping[int, Range]) -> Iterator[Copied]:
        """All that is left, chunk by chunk."""
        self._left = dict(left)
        if self._pool is not None and left == {0: ALL}:
            self._left = self._cut()
            yield Cut(self._left.copy())
        if len(self._left) == 1:
            self._pool = None  # nothing to share
        self._idle = deque(self._left)
        with self._pool.used() if self._pool is not None else contextlib.nullcontext():
            while self._left:
                self._give_out()
                yield self._next()

    def _cut(self) -> dict[int, Range]:
        bounds = cut(self._mongo, self._plan, CHUNKS_A_RANGE * self._size, RANGES)
        return dict(enumerate(ranges_between(bounds)))

    def _next(self) -> Copied:
        if not self._waiting:
            return self._read(self._idle.popleft())
        try:
            future = self._ended.get(timeout=TICK_S)
        except queue.Empty:
            return Pause()
        self._heard = time.monotonic()
        if future not in self._waiting:  # taken back before
            return Pause()
        piece, _ = self._waiting.pop(future)
        return self._taken(future, piece) or self._read(piece.number)

    def _read(self, number: int) -> Copied:
        """By ourselves."""
        part = self._left[number]
        cursor, last = part.bounds
        found, time_of, upto = self._lookup.step(
            cursor, self._size, self._reads.after(), last, digests=self._digests
        )
        end = found[-1] if found else upto
        if end is None:
            return self._end(number)
        self._go_on(number, encode({"_id": end["_id"]}), time_of)
        return Chunk(found, time_of, number, self._oldest(time_of))

    def _taken(self, future: Future[Made], piece: Piece) -> Copied | None:
        """What a worker made; None where it made nothing."""
        assert self._pool is not None
        try:
            made = future.result()
        except Exception as error:  # noqa: BLE001 - of whichever kind an executor has
            at_once = isinstance(error, BrokenExecutor | CancelledError)
            self._pool.failed(self._executor, described(error), at_once=at_once)
            return None
        if made.trouble:
            self._pool.failed(self._executor, made.trouble, at_once=not made.passes)
            return None
        self._pool.worked()
        if not made.end:
            return self._end(piece.number)
        self._go_on(piece.number, made.end, made.time)
        oldest = self._oldest(made.time)
        if not made.size:
            return Chunk([], made.time, piece.number, oldest)
        self._adapt(len(made.writes))
        telemetry.snapshot_piece(self._plan.name)
        self._plan.misfits.add(made.misfits or {})
        return Ready(unpack(made.writes), made.sources or {}, made.time, piece.number, made.end, oldest)

    def _end(self, number: int) -> RangeEnd:
        del self._left[number]
        return RangeEnd(number)

    def _go_on(self, number: int, end: bytes, time_of: Moment) -> None:
        self._left[number] = Range(end, self._left[number].upto)
        self._idle.appendleft(number)
        self._reads.saw(time_of)

    def _oldest(self, time_of: Moment) -> Moment:
        return min([time_of, *(piece.after for piece, _ in self._waiting.values())])

    def _adapt(self, size: int) -> None:
        if size > LARGE:
            self._piece_size = max(1, self._piece_size // 2)
        elif size < SMALL:
            self._piece_size = min(self._size, 2 * self._piece_size)

    def _give_out(self) -> None:
        """Have workers read, if there are any."""
        if self._pool is None:
            return
        if why := self._too_late():
            self._pool.failed(self._executor, why, at_once=True)
        executor = self._pool.executor()
        if executor is not self._executor:
            self._take_back()
            self._executor, self._whose = executor, ""  # whose members may be others by now
        while executor is not None and self._idle and len(self._waiting) < AT_ONCE:
            piece = self._piece(self._idle.popleft())
            try:
                future = executor.submit(make, piece)
            except Exception as error:  # noqa: BLE001 - it broke just now, or there can be no more processes
                self._idle.appendleft(piece.number)
                self._pool.failed(executor, described(error), at_once=True)
                return
            self._waiting[future] = piece, time.monotonic()
            future.add_done_callback(self._ended.put)

    def _piece(self, number: int) -> Piece:
        self._whose = self._whose or identity(self._mongo)
        return Piece(
            number, self._left[number], self._piece_size, self._reads.after(), self._plan.contract,
            self._plan.fingerprint, self._whose, self._partition, self._digests,
        )  # fmt: skip

    def _too_late(self) -> str:
        """Why pieces are to be taken back, if they are."""
        if self._waiting and self._watermarks.is_crowded:
            return "the stream writes too much while pieces are on their way"
        # One that is done waits for us, perhaps because Redis is slow; others wait for a worker while that brings one.
        since = next((since for future, (_, since) in self._waiting.items() if not future.done()), None)
        if since is not None and time.monotonic() > max(since, self._heard) + LATE_S:
            return f"no answer from a worker in {LATE_S:g} s"
        return ""

    def _take_back(self) -> None:
        for future, (piece, _) in self._waiting.items():
            future.cancel()
            self._idle.append(piece.number)
        self._waiting.clear()
