"""Which changes already show in Redis, so that nothing older is written over them. Pure: part of the apply log.

A read at time T covers every change up to T, and the stream may bring some of these changes later. Known are:

- **document watermark**: the time of the last read of one document. A change at or before it is skipped.
- **range watermark**: the time of the latest read of many documents (a chunk of a copy, keys without a document, and
  everything that was read before a crash, of which only the latest time is known). A change at or before it is answered
  by a new read.
- **horizon**: the latest time of anything that shows or is on its way. Every read is of this time or later, so it is
  later than anything that it is written over.
- **written**: while a copy runs, the documents that the stream has written, and when. A chunk that was read before
  leaves them out.

A read counts from the moment its call is sent: Redis leaves out a call when the one before was not applied, so what
was built on a read is applied only behind it. `left_out` takes back what was sent and not applied.

One thread changes a `Watermarks`. Others may read `horizon` and `is_crowded`, which are single values.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Collection
from dataclasses import dataclass
from enum import Enum, auto

from syncd.stores.mongo.times import ZERO, Moment

MOST_DOCUMENTS = 50_000
"""Above this, document watermarks become one range watermark: it costs reads, not memory."""
CROWDED = 200_000
"""Above this many written documents, chunks that are still on their way are better read again."""


class Verdict(Enum):
    """What may be done with a change."""

    APPLY = auto()
    SKIP = auto()
    READ = auto()


@dataclass(frozen=True, slots=True)
class Coverage:
    """What shows once a call is applied."""

    written: Collection[str] = ()
    """Documents that the stream, or a repair, writes with it."""
    time: Moment = ZERO
    """None of them shows a later state than this."""
    read: Collection[str] = ()
    """Documents that it shows as they were read at `read_time`."""
    read_time: Moment = ZERO
    range_time: Moment = ZERO
    """When many documents were read at once."""
    passed: Moment = ZERO
    """How far the stream is with it, perhaps without all changes of that time."""

    @property
    def latest_read(self) -> Moment:
        """Changes up to here may show."""
        return max(self.read_time, self.range_time)

    @property
    def latest(self) -> Moment:
        """No later state shows."""
        return max(self.time, self.read_time, self.range_time)


class Watermarks:
    """Of one run of a lane."""

    def __init__(self, read: Moment = ZERO, horizon: Moment = ZERO, *, copying: bool = False) -> None:
        """`read`: the read watermark of the stored position; `horizon`: latest time of anything that shows."""
        self._range = read
        self._documents: dict[str, Moment] = {}
        self._oldest = ZERO
        """No document watermark is earlier: before that there is none to forget."""
        self._written: dict[str, Moment] = {}
        self._sent: deque[Coverage] = deque()
        self._reads: list[Coverage] = []
        """Those that were sent and read single documents."""
        self._upto = read
        """The range watermark with what was sent."""
        self.horizon = max(read, horizon)
        self.copying = copying
        """Whether a copy runs beside the stream: then a key may be older than a change of it, or not there yet."""

    def is_clear(self, time: Moment) -> bool:
        """Whether every change from this time on may be applied."""
        return not self._documents and not self._reads and time > self._upto

    def verdict(self, ident: str, time: Moment) -> Verdict:
        """What may be done with a change of this document at this time."""
        shown = self._documents.get(ident)
        if shown is not None and time <= shown:
            return Verdict.SKIP
        for sent in self._reads:
            if time <= sent.read_time and ident in sent.read:
                return Verdict.SKIP
        return Verdict.READ if time <= self._upto else Verdict.APPLY

    def newer(self, idents: Collection[str], time: Moment) -> set[str]:
        """Which of these documents the stream has written later than `time`."""
        written = self._written
        return {ident for ident in idents if written.get(ident, ZERO) > time} if written else set()

    @property
    def is_crowded(self) -> bool:
        """Whether the stream has written very much since the oldest chunk was asked for."""
        return len(self._written) > CROWDED

    def sent(self, covers: Coverage) -> None:
        """A call goes out, behind those that went out before."""
        self._sent.append(covers)
        if covers.read:
            self._reads.append(covers)
        self._upto = max(self._upto, covers.range_time)
        self.horizon = max(self.horizon, covers.latest)
        if self.copying:
            for ident in covers.written:
                if covers.time > self._written.get(ident, ZERO):
                    self._written[ident] = covers.time

    def applied(self) -> None:
        """The call that was sent first is applied."""
        covers = self._sent.popleft()
        if covers.read:
            del self._reads[0]
            self._show(covers.read, covers.read_time)
        self._range = max(self._range, covers.range_time)
        if covers.passed > self._oldest and self._documents:
            # Changes to come are of this time or later.
            self._documents = {ident: at for ident, at in self._documents.items() if at >= covers.passed}
            self._oldest = min(self._documents.values(), default=ZERO)
        self._upto = max([self._range, *(sent.range_time for sent in self._sent)])

    def left_out(self) -> None:
        """None of the calls that were sent is applied."""
        self._sent.clear()
        self._reads.clear()
        self._upto = self._range

    def may_show(self, time: Moment) -> None:
        """States up to this time may show, of documents that are not known."""
        self._range = max(self._range, time)
        self._upto = max(self._upto, time)

    def end_copy(self) -> None:
        """Everything that the copy read is applied."""
        self.copying = False
        self._written = {}

    def forget_written(self, time: Moment) -> None:
        """Every chunk that is not applied yet is of this time or later: what was written before matters no more."""
        if self._written:
            self._written = {ident: at for ident, at in self._written.items() if at > time}

    def _show(self, idents: Collection[str], time: Moment) -> None:
        if not self._documents:
            self._documents, self._oldest = dict.fromkeys(idents, time), time
        else:
            self._oldest = min(self._oldest, time)
            for ident in idents:
                self._documents[ident] = max(time, self._documents.get(ident, ZERO))
        if len(self._documents) > MOST_DOCUMENTS:
            self._range = max(self._range, *self._documents.values())
            self._documents = {}
