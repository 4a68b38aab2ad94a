"""The maps between `_id` and key, where the node of a key is another one now. See `moved_records`."""

from __future__ import annotations

from functools import partial

from syncd.stores.redis.records.moved_records import Command, Moved, Named
from syncd.stores.redis.scan import SCAN_COUNT, pages


class MovedKeys:
    """Of one lane."""

    def __init__(self, moved: Moved) -> None:
        self._moved = moved

    def move(self, one: Named) -> None:
        """What waits for a key that is on its way itself comes with the second round. Two that wait for each other are
        left to the sweep of the next copy, or to a check."""
        for is_last in (False, False, True):
            if not sum(self._move(place, one, is_last=is_last) for place in self._moved.places):
                return

    def _move(self, place: str, one: Named, *, is_last: bool) -> int:
        """Returns how many entries wait."""
        waiting = 0
        moved, keys = self._moved, self._moved.keys(place)
        name, template, _ = one
        owners, by_id = keys.ids_by_key(name, template), keys.keys_by_id(name, template)
        for entries in pages(partial(moved.client(place).hscan, owners), count=SCAN_COUNT):
            for target, some in moved.elsewhere(place, entries):
                there = moved.keys(target)
                idents = [entries[key].partition(b" ")[2] for key in some]
                held = moved.held(place, by_id, idents)
                new: list[str | bytes] = [there.keys_by_id(name, template), there.ids_by_key(name, template)]
                for key, mapped in zip(some, held, strict=True):
                    new += [key, entries[key], "1" if mapped == key and not is_last else ""]
                left = set(moved.call(target, "syncd_bring", new)[1:])
                waiting += len(left)
                gone = [
                    (key, ident if mapped == key else None)
                    for key, ident, mapped in zip(some, idents, held, strict=True)
                    if key not in left
                ]
                old: list[Command] = [("HDEL", owners, key) for key, _ in gone]
                old += [("HDEL", by_id, ident) for _, ident in gone if ident is not None]
                moved.carry(place, old)
        if not waiting:
            self._forget(place, by_id)
        return waiting

    def _forget(self, place: str, by_id: str) -> None:
        """What is left of them in the map has no owner: another document has the key."""
        for found in pages(partial(self._moved.client(place).hscan, by_id), count=SCAN_COUNT):
            of = {key: ident for ident, key in found.items()}
            for _, some in self._moved.elsewhere(place, of):
                self._moved.carry(place, [("HDEL", by_id, *(of[key] for key in some))])
