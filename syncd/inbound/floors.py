"""Which changes may already show in Redis, so that nothing older is written over them.

A read at time T covers every change up to T. Two facts are kept:

- `mark`, the latest time of any applied read. A change at or before it is never written as such: its document is read
  again, later than anything that shows. The mark is stored with the position, so this holds through a crash as well.
- `touched`, documents that the stream wrote while a snapshot chunk was on its way, with their times. A chunk that was
  read earlier leaves them out.
"""

from __future__ import annotations

import threading

from bson.timestamp import Timestamp

from syncd.stores.mongo import ZERO_TIME


class Floors:
    """Shared by a lane and its snapshot reader."""

    def __init__(self, mark: Timestamp, horizon: Timestamp) -> None:
        self.mark = mark
        self._horizon = horizon
        self._touched: dict[str, Timestamp] = {}
        self._lock = threading.Lock()
        self.recording = False
        """True while a snapshot runs."""

    def covers(self, time: Timestamp) -> bool:
        """Whether a change of this time may already show."""
        return time <= self.mark

    def read_at(self, time: Timestamp) -> None:
        """A read of this time is about to be applied."""
        if time > self.mark:
            self.mark = time

    def touch(self, idents: list[str], time: Timestamp) -> None:
        """The stream is about to write these documents as of `time`."""
        with self._lock:
            if time > self._horizon:
                self._horizon = time
            if self.recording:
                for ident in idents:
                    if time > self._touched.get(ident, ZERO_TIME):
                        self._touched[ident] = time

    def horizon(self) -> Timestamp:
        """No chunk may be read earlier than this: everything up to here was written by the stream."""
        with self._lock:
            return self._horizon

    def is_newer(self, ident: str, time: Timestamp) -> bool:
        """Whether the stream wrote this document later than `time`."""
        return self._touched.get(ident, ZERO_TIME) > time

    def chunk_applied(self, time: Timestamp) -> None:
        """A chunk of this time is in; all chunks after it are later, so what came before is of no more use."""
        self.read_at(time)
        with self._lock:
            self._touched = {ident: at for ident, at in self._touched.items() if at > time}
