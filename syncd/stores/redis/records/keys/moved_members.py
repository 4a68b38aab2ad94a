"""What documents are members of, where the node of a shared key is another one now: see `moved_records`, and
`lua/operations/members.lua` for the map."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
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
            found.pop(WHOLE_MAP, None)
            of_keys = {field: said for field, said in found.items() if field.startswith(WHOLE_MAP)}
            self._of_keys(place, name, one, of_keys)
            self._of_documents(
                place,
                name,
                one,
                {field: unpacked(said) for field, said in found.items() if field not in of_keys},
            )

    def _of_keys(self, place: str, name: str, one: Named, found: Mapping[bytes, bytes]) -> None:
        """The bar of a board, or which document a sample is of: behind the key stands its moment then, and of two the
        later state has it."""
        moved, by_target = self._moved, dict[str, list[bytes]]()
        for field in found:
            key = field.removeprefix(WHOLE_MAP)
            target = moved.place_of(key.rpartition(b" ")[0] if one.is_series else key)
            if target != place:
                by_target.setdefault(target, []).append(field)
        for target, fields in by_target.items():
            there, new = moved.keys(target).members(one.projection, one.template), list[Command]()
            for field, theirs in zip(fields, moved.held(target, there, fields), strict=True):
                said = found[field]
                new.append(("HSET", there, field, max(said, theirs or b"") if one.is_series else said))
            moved.carry(target, new)
            moved.carry(place, [("HDEL", name, *fields)])

    def _of_documents(
        self, place: str, name: str, one: Named, found: Mapping[bytes, list[tuple[str, str]]]
    ) -> None:
        """A page of them, with a call or two for each node."""
        moved, deadlines = self._moved, self._moved.keys(place).deadlines(one.projection, one.template)
        going: dict[str, dict[bytes, list[tuple[str, str]]]] = {}
        old: dict[bytes, list[Command]] = {}
        for ident, pairs in found.items():
            left = []
            for pair in pairs:
                if (target := moved.place_of(pair[0])) == place:
                    left.append(pair)
                else:
                    going.setdefault(target, {}).setdefault(ident, []).append(pair)
            if len(left) < len(pairs):
                gone: list[Command] = [("HDEL", name, ident), ("ZREM", deadlines, ident)]
                old[ident] = [("HSET", name, ident, _packed(left))] if left else gone
        ends = self._ends(place, deadlines, list(old))
        for target, documents in going.items():
            self._add(target, one, documents, ends)
        moved.carry(place, [command for commands in old.values() for command in commands])

    def _ends(self, place: str, deadlines: str, idents: Sequence[bytes]) -> dict[bytes, float]:
        """The deadlines of those that have one."""
        with translated():
            pipe = self._moved.client(place).pipeline(transaction=False)
            for ident in idents:
                pipe.zscore(deadlines, ident)
            scores = pipe.execute()
        return {ident: score for ident, score in zip(idents, scores, strict=True) if score is not None}

    def _add(
        self,
        target: str,
        one: Named,
        documents: Mapping[bytes, list[tuple[str, str]]],
        ends: Mapping[bytes, float],
    ) -> None:
        """To what the map of a place says."""
        moved, idents = self._moved, list(documents)
        there = moved.keys(target).members(one.projection, one.template)
        until, new = moved.keys(target).deadlines(one.projection, one.template), list[Command]()
        for ident, theirs in zip(idents, moved.held(target, there, idents), strict=True):
            new.append(("HSET", there, ident, _packed([*unpacked(theirs or b"[]"), *documents[ident]])))
            if ident in ends:
                new.append(("ZADD", until, f"{ends[ident]:.0f}", ident))
        moved.carry(target, new)

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
