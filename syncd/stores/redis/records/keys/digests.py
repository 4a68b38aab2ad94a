"""MongoDB's digests of the documents that Redis shows, kept beside the keys by the lane that writes those."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from syncd.plan.partition import Partition
from syncd.plan.to_redis.digest import BUCKETS
from syncd.stores.paging import paged
from syncd.stores.redis.records.position import ControlKeys
from syncd.stores.redis.store import RedisStore, translated

_BUCKETS_AT_ONCE = 128
_PAGE = 1_000


def can_be_kept(partition: Partition) -> bool:
    """Whether each bucket belongs to one partition, as it must."""
    return BUCKETS % partition.count == 0


class Digests:
    """Those of one partition. Only the lane writes them, in the step that writes the keys."""

    def __init__(self, store: RedisStore, control: ControlKeys) -> None:
        self._store, self._control = store, control
        part = control.partition
        self.buckets = range(part.number - 1, BUCKETS, part.count)

    def sums(self) -> dict[int, tuple[int, int]]:
        """Of each bucket that is not empty, how many digests it has, and their sum."""
        found: dict[int, tuple[int, int]] = {}
        for bucket, values in self._of_all("hvals", self.buckets):
            if values:
                found[bucket] = len(values), sum(map(int, values))
        return found

    def of_buckets(self, buckets: Iterable[int]) -> dict[int, dict[str, int]]:
        """ident -> digest, of each of these buckets."""
        return {
            bucket: {ident.decode(): int(digest) for ident, digest in entries.items()}
            for bucket, entries in self._of_all("hgetall", buckets)
        }

    def _of_all(self, command: str, buckets: Iterable[int]) -> Iterator[tuple[int, Any]]:
        for some in paged(buckets, _BUCKETS_AT_ONCE):
            with translated():
                pipe = self._store.client.pipeline(transaction=False)
                for bucket in some:
                    getattr(pipe, command)(self._control.digests(bucket))
                replies = pipe.execute()
            yield from zip(some, replies, strict=True)

    def some_changed(self, most: int) -> list[str]:
        """Documents that changed since their digest was stored, by ident; at most so many, any of them."""
        with translated():
            found: Any = self._store.client.srandmember(self._control.changed, most)
        return [ident.decode() for ident in found]

    def all_changed(self) -> Iterator[list[str]]:
        """All of them, in pages; one may come twice."""
        cursor: Any = 0
        while True:
            with translated():
                found: Any = self._store.client.sscan(self._control.changed, cursor, count=_PAGE)
            cursor, page = found
            if page:
                yield [ident.decode() for ident in page]
            if cursor == 0:
                return

    def ask_again(self, idents: Sequence[str]) -> None:
        """Have the lane ask for these digests again: the keys are as they should be, and the digests are not."""
        for some in paged(idents, _PAGE):
            with translated():
                self._store.client.sadd(self._control.changed, *some)

    def forget(self) -> None:
        """Everything is about to be copied again."""
        names = [self._control.changed, *map(self._control.digests, self.buckets)]
        for some in paged(names, _BUCKETS_AT_ONCE):
            with translated():
                self._store.client.delete(*some)
