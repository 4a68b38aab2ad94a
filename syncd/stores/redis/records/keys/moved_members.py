"""What documents are members of, where the node of a shared key is another one now: see `moved_records`, and
`lua/operations/members.lua` for the map."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import orjson

from syncd.plan.types import unpacked
from syncd.stores.redis.records.moved_records import Command, Moved, Named
from syncd.stores.redis.scan import MEMBERSHIPS_COUNT, SCAN_COUNT, WHOLE_MAP, pages
from syncd.stores.redis.store import translated


class MovedMembers:
    """Of one lane."""

    def __init__(self, moved: Moved, known: Sequence[str]) -> None:
        """`known`: places whose maps are those of before; those of all others begin now."""
        self._moved, self._known = moved, known

    def move(self, one: Named) -> None:
        """On every node that had some."""
        for place in self._moved.places:
            self._memberships(place, one)
            self._boards(place, one)
        self._begin(one)

    def _memberships(self, place: str, one: Named) -> None:
        moved, name = self._moved, self._moved.keys(place).members(one.projection, one.template)
        for found in pages(partial(moved.client(place).hscan, name), count=MEMBERSHIPS_COUNT):
            for field, said in found.items():
                if field == WHOLE_MAP:
                    continue
                if field.startswith(WHOLE_MAP):
                    self._of_key(place, name, one, field, said)
                else:
                    self._of_document(place, name, one, field, unpacked(said))

    def _of_key(self, place: str, name: str, one: Named, field: bytes, said: bytes) -> None:
        """The bar of a board, or which document a sample is of: behind the key stands its moment then, and of two the
        later state has it."""
        moved, key = self._moved, field.removeprefix(WHOLE_MAP)
        if one.is_series:
            key = key.rpartition(b" ")[0]
        for target, _ in moved.elsewhere(place, [key]):
            there = moved.keys(target).members(one.projection, one.template)
            (theirs,) = moved.held(target, there, [field])
            moved.carry(target, [("HSET", there, field, max(said, theirs or b"") if one.is_series else said)])
            moved.carry(place, [("HDEL", name, field)])

    def _of_document(
        self, place: str, name: str, one: Named, ident: bytes, pairs: list[tuple[str, str]]
    ) -> None:
        moved = self._moved
        by_place: dict[str, list[tuple[str, str]]] = {}
        for pair in pairs:
            by_place.setdefault(moved.place_of(pair[0]), []).append(pair)
        left = by_place.pop(place, [])
        if not by_place:
            return
        deadlines = moved.keys(place).deadlines(one.projection, one.template)
        with translated():
            deadline = moved.client(place).zscore(deadlines, ident)
        for target, some in by_place.items():
            there = moved.keys(target).members(one.projection, one.template)
            (theirs,) = moved.held(target, there, [ident])
            new: list[Command] = [("HSET", there, ident, _packed([*unpacked(theirs or b"[]"), *some]))]
            if deadline is not None:
                until = moved.keys(target).deadlines(one.projection, one.template)
                new.append(("ZADD", until, f"{deadline:.0f}", ident))
            moved.carry(target, new)
        if left:
            moved.carry(place, [("HSET", name, ident, _packed(left))])
        else:
            moved.carry(place, [("HDEL", name, ident), ("ZREM", deadlines, ident)])

    def _boards(self, place: str, one: Named) -> None:
        """Those that may lack members."""
        moved, name, begins = self._moved, self._moved.keys(place).short, f"{one.projection} ".encode()
        for found in pages(partial(moved.client(place).sscan, name), count=SCAN_COUNT):
            of = {entry.removeprefix(begins): entry for entry in found if entry.startswith(begins)}
            for target, some in moved.elsewhere(place, of):
                entries = [of[key] for key in some]
                moved.carry(target, [("SADD", moved.keys(target).short, *entries)])
                moved.carry(place, [("SREM", name, *entries)])

    def _begin(self, one: Named) -> None:
        """A map that begins now is as whole as those of before."""
        moved, field = self._moved, WHOLE_MAP
        words = {
            place: moved.held(place, moved.keys(place).members(one.projection, one.template), [field])[0]
            for place in moved.places
        }
        before = [words[place] for place in self._known]
        if None in before:
            return
        for place, word in words.items():
            if word is None:
                name = moved.keys(place).members(one.projection, one.template)
                moved.carry(place, [("HSET", name, field, min(filter(None, before)))])
        names = {place: moved.keys(place).deadlines(one.projection, one.template) for place in moved.places}
        with translated():
            have = {place: moved.client(place).zscore(names[place], field) for place in moved.places}
        if all(have[place] is not None for place in self._known):
            for place in (place for place, score in have.items() if score is None):
                moved.carry(place, [("ZADD", names[place], "inf", field)])


def _packed(pairs: Sequence[tuple[str, str]]) -> bytes:
    return orjson.dumps([text for pair in dict.fromkeys(pairs) for text in pair])
