"""One index of a contract under its name: made, watched, made again, and exchanged after an edit.

Behind an alias (`generations: alias`) the real index is called `name:N`. A changed one is built beside it and takes the
alias over; the old one stays as long as the contract says. In place the index is called by the name itself, and an edit
makes it again.

Clients have commands of their own. FT.CREATE with the name of an alias succeeds and hides the alias; FT.DROPINDEX with
an alias drops the index behind it, with DD its keys too. An index under our names that is not in the record of
`generations` belongs to another client: it is reported, and left alone.
"""

from __future__ import annotations

import hashlib
import json
import re
import time
from dataclasses import dataclass, field, replace
from enum import Enum
from typing import Any

from syncd import telemetry
from syncd.stores.redis.index_names import taken
from syncd.stores.redis.search import Search, SeenIndex, shape_of
from syncd.to_redis.apply.pipeline import Moved
from syncd.to_redis.indexes.generations import BUILDING, SERVING, Generation, Generations
from syncd.to_redis.indexes.left_out import LeftOut

SLACK = 0.05
"""Part of its keys that an index may lack without a warning: a few come and go between two checks."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """An index as the contract has it."""

    name: str
    kind: str
    prefix: str
    options: list[str]
    """What FT.CREATE takes before SCHEMA, beside the keys."""
    schema: list[str]
    places: list[tuple[str, str, str]]
    """Place, name and type of every field."""
    in_place: bool
    keep_old_s: float | None
    keys_stay: bool
    """Whether nothing but this lane removes keys, as far as the contract says."""
    fingerprint: str = field(init=False)
    shape: str = field(init=False)

    def __post_init__(self) -> None:
        head = [self.kind.upper(), self.prefix, *self.options]
        digest = hashlib.blake2b(json.dumps([head, self.schema]).encode(), digest_size=16)
        object.__setattr__(self, "fingerprint", digest.hexdigest())
        object.__setattr__(self, "shape", shape_of(self.kind, [self.prefix], self.places))

    def number_of(self, seen: SeenIndex) -> int | None:
        """The number of an index that has one behind our name, and our prefix and fields; None of any other."""
        found = re.fullmatch(re.escape(self.name) + ":([0-9]{1,9})", seen.name)
        return int(found[1]) if found and seen.shape == self.shape else None


class Step(Enum):
    """What an index of the contract needs, by what is recorded of the one that serves."""

    STAYS = "stays"
    MADE = "made"
    """There is none yet."""
    BESIDE = "beside"
    """A new generation beside the one that serves."""
    AGAIN = "again"
    """The same one once more: searches find less until it is complete."""


def step_of(serving: Generation | None, wanted: Wanted) -> Step:
    """What follows from the record. What clients did to indexes meanwhile is seen later."""
    if serving is None:
        return Step.MADE
    if wanted.in_place:
        is_same = serving.name == wanted.name and serving.fingerprint == wanted.fingerprint
        return Step.STAYS if is_same else Step.AGAIN
    is_same = serving.name != wanted.name and serving.fingerprint == wanted.fingerprint
    return Step.STAYS if is_same else Step.BESIDE


class NamedIndex:
    """Used by the lane's thread: `keep` at the start of a run, and every few seconds."""

    def __init__(
        self, contract: str, wanted: Wanted, search: Search, generations: Generations, left_out: LeftOut
    ) -> None:
        self._contract, self._wanted, self._search = contract, wanted, search
        self._generations, self._left_out = generations, left_out
        self._names: set[str] = set()
        self._seen: SeenIndex | None = None
        self._seen_before: SeenIndex | None = None
        """The index that serves as it was when it was last complete."""
        self._before = Moved()
        """What the lane had done to keys by then."""
        self._fell = 0
        self._is_missed = self._is_lost = self._was_hidden = False
        """Whether a client dropped the index, so that it is made again; whether keys are gone with it; whether its name
        belonged to another client at the last check."""
        self._made_at: float | None = None
        """Since when searches find less, for an index that is made again under its name."""
        self._left = 0
        self.problem = ""
        """What is wrong with the name, and what to do; empty where nothing is."""

    @property
    def is_building(self) -> bool:
        """Whether a new generation has not taken over yet."""
        return self._building is not None

    @property
    def complaint(self) -> str:
        """Why searches by the name do not find what they should; empty where they do."""
        if self.problem:
            return self.problem
        if self._seen is None or self._seen.is_building:
            return f"index {self._wanted.name} is being built, and searches do not find everything yet"
        return ""

    def as_dict(self) -> dict[str, Any]:
        """For /status."""
        serving, building, seen = self._serving, self._building, self._seen
        state = "taken" if self.problem else "building" if self.complaint else "complete"
        return {
            "index": self._wanted.name,
            "real": serving.name if serving else None,
            "state": state,
            "documents": seen.documents if seen else None,
            "left_out": self._left,
            "next": building.name if building else None,
            "old": [
                {"real": one.name, "until": one.until}
                for one in self._generations.old()
                if one.alias == self._wanted.name
            ],
            "problem": self.problem,
        }

    def keep(self, names: set[str], moved: Moved, *, ready: bool) -> bool:
        """See that the index is there and has its name, among the real indexes `names`. `moved`: what the lane itself
        has done to keys so far. `ready`: a new generation may take over. Returns whether keys are gone that the lane
        did not remove."""
        self._names, before = names, self.problem
        self.problem, self._was_hidden = "", bool(before)
        if self._wanted.in_place:
            self._keep_in_place()
        else:
            self._keep_behind_alias(ready=ready)
        telemetry.index_name(self._contract, self._wanted.name, self.problem, before)
        return self._check_keys(moved)

    @property
    def _serving(self) -> Generation | None:
        return self._generations.of(SERVING, self._wanted.name)

    @property
    def _building(self) -> Generation | None:
        return self._generations.of(BUILDING, self._wanted.name)

    def _seen_as_ours(self, one: Generation | None) -> SeenIndex | None:
        """An index that we made, as the server has it; None where it is gone, or is another client's by now."""
        seen = self._search.look(one.name) if one is not None and one.name in self._names else None
        return seen if seen is None or one is None or one.shape in ("", seen.shape) else None

    # Behind an alias

    def _keep_behind_alias(self, *, ready: bool) -> None:
        wanted = self._wanted
        serving = self._serving or self._adopted()
        self._seen = self._seen_as_ours(serving)
        if serving is None or self._seen is None:
            self._abandon_building()
            serving = self._make_again(serving) if serving else self._make(SERVING, self._next_number())
        if step_of(serving, wanted) is Step.BESIDE:
            serving = self._build_beside(serving, ready=ready)
        else:
            self._abandon_building()
        self._hold_alias(serving)

    def _make_again(self, gone: Generation) -> Generation:
        """Under the same name, if it is free: some clients have opened that."""
        self._miss(gone)
        is_free = gone.generation and gone.name not in self._names
        return self._make(SERVING, gone.generation if is_free else self._next_number())

    def _adopted(self) -> Generation | None:
        """The record may be lost while the index is there: what has our number, our prefix and our fields is ours. Its
        options are not known, so that it is made again."""
        seen = None if self._wanted.name in self._names else self._search.look(self._wanted.name)
        if seen is None or (number := self._wanted.number_of(seen)) is None:
            return None
        found = Generation(number, seen.name, "", seen.shape, self._wanted.name, 0)
        self._generations.put(SERVING, found)
        return found

    def _next_number(self) -> int:
        """Above all that were, and past names that another client has."""
        ours = [one for one in self._generations.old() if one.alias == self._wanted.name]
        ours += [one for one in (self._serving, self._building) if one is not None]
        number = 1 + max((one.generation for one in ours), default=0)
        while f"{self._wanted.name}:{number}" in self._names:
            number += 1
        return number

    def _build_beside(self, serving: Generation, *, ready: bool) -> Generation:
        """Returns the one that serves afterwards."""
        building = self._building
        if building is not None and building.fingerprint != self._wanted.fingerprint:
            self._abandon_building()
            building = None
        seen = self._seen_as_ours(building)
        if building is None or seen is None:
            self._make(BUILDING, self._next_number())
            return serving
        if not ready or seen.is_building:
            return serving
        self._take_over(serving, building)
        self._seen = self._seen_before = seen
        return building

    def _take_over(self, old: Generation, new: Generation) -> None:
        name = self._wanted.name
        if old.name == name:
            self._search.exchange(name, new.name)
        else:
            if name not in self._names:
                self._search.point(name, new.name)
            self._retire(old)
        self._generations.put(SERVING, new)
        self._generations.forget(BUILDING, name)
        telemetry.index_swapped(self._contract, name, new.name, old.name)
        self._names = self._search.names()

    def _abandon_building(self) -> None:
        building = self._building
        if building is not None:
            self._drop(building)
            self._generations.forget(BUILDING, self._wanted.name)

    def _hold_alias(self, serving: Generation) -> None:
        """Have the name mean the index that serves, unless another client has the name."""
        name = self._wanted.name
        if serving.name == name:
            return
        if name in self._names:
            self._tell_taken(name)
            return
        meant = self._search.look(name)
        if meant is None or (meant.name != serving.name and meant.name in self._generations.real_names()):
            self._search.point(name, serving.name)
        elif meant.name != serving.name:
            self._tell_taken(meant.name)

    def _tell_taken(self, real: str) -> None:
        self.problem = str(taken(self._wanted.name, real, in_place=self._wanted.in_place))

    # In place

    def _keep_in_place(self) -> None:
        self._abandon_building()
        name, serving = self._wanted.name, self._serving
        if serving is None or serving.name != name:
            self._begin_in_place(serving)
            return
        self._seen = self._seen_as_ours(serving)
        if self._seen is not None:
            if step_of(serving, self._wanted) is Step.AGAIN:
                self._drop(serving)
                self._make_in_place("the contract has changed")
            return
        if name not in self._names:
            self._miss(serving)
            self._make_in_place("a client dropped it")
            return
        # A client dropped ours, perhaps with its keys, and made another.
        telemetry.index_lost(self._contract, name, name)
        self._generations.forget(SERVING, name)
        self._is_lost = True
        self._tell_replaced()

    def _share(self) -> None:
        """A client that makes its index where it sees none may have been first: one over the same keys and fields will
        do."""
        wanted, seen = self._wanted, self._search.look(self._wanted.name)
        if seen is not None and seen.shape == wanted.shape:
            self._seen = seen
            self._generations.put(
                SERVING, Generation(0, wanted.name, wanted.fingerprint, seen.shape, wanted.name, 0)
            )
            telemetry.index_shared(self._contract, wanted.name)

    def _tell_replaced(self) -> None:
        name = self._wanted.name
        if self._seen is None and name in self._names:
            self._tell_taken(name)

    def _begin_in_place(self, behind: Generation | None) -> None:
        """The first time, or `behind` an alias until now."""
        name = self._wanted.name
        if name in self._names:
            self._share()
            self._tell_replaced()
            return
        meant = self._search.look(name)
        if meant is not None and meant.name not in self._generations.real_names():
            self._tell_taken(meant.name)
            return
        if meant is not None:
            self._search.remove_alias(name)
        if behind is not None:
            self._retire(behind)
        self._make_in_place("" if behind is None else "it was behind an alias")

    def _make_in_place(self, why: str) -> None:
        self._make(SERVING, 0)
        if why:
            self._made_at = time.monotonic()
            telemetry.index_made_again(self._contract, self._wanted.name, why)

    # Both

    def _make(self, role: str, number: int) -> Generation:
        wanted, serving = self._wanted, self._serving
        name = wanted.name if wanted.in_place else f"{wanted.name}:{number}"
        documents = serving.documents if serving and self._is_missed else 0
        made = Generation(number, name, wanted.fingerprint, "", wanted.name, documents)
        # Noted before it is there: what is not in the record counts as another client's.
        self._generations.put(role, made)
        self._search.create(name, wanted.kind, wanted.prefix, [*wanted.options, "SCHEMA", *wanted.schema])
        self._names = self._names | {name}
        seen = self._search.look(name)
        if seen is not None:
            made = replace(made, shape=seen.shape)
            self._generations.put(role, made)
        if role == SERVING:
            self._seen, self._seen_before = seen, None
        telemetry.index_created(self._contract, wanted.name, name)
        return made

    def _retire(self, one: Generation) -> None:
        keep = self._wanted.keep_old_s
        self._generations.retire(one, None if keep is None else time.time() + keep)

    def _drop(self, one: Generation) -> None:
        if self._seen_as_ours(one) is not None:
            self._search.drop(one.name)
            self._names = self._names - {one.name}

    def _miss(self, one: Generation) -> None:
        telemetry.index_lost(self._contract, self._wanted.name, one.name)
        self._is_missed = True

    def _check_keys(self, moved: Moved) -> bool:
        """What the index that serves says of the keys. Returns whether they have to be written again."""
        seen, serving = self._seen, self._serving
        if seen is None or serving is None or seen.is_building:
            was_lost, self._is_lost = self._is_lost, False
            return was_lost
        if self._made_at is not None:
            telemetry.index_complete(self._contract, self._wanted.name, time.monotonic() - self._made_at)
            self._made_at = None
        before, self._left = self._left, self._left_out.count(seen)
        telemetry.index_failures(self._contract, self._wanted.name, self._left, seen.error, before)
        is_gone = (
            self._is_emptied(seen, serving, moved)
            if self._is_missed
            else self._has_fallen(seen, serving, moved)
        )
        self._seen_before, self._before, self._is_missed = seen, replace(moved), False
        if abs(seen.documents - serving.documents) > SLACK * serving.documents:
            # So that it is known after a restart as well.
            self._generations.put(SERVING, replace(serving, documents=seen.documents))
        return is_gone

    def _is_emptied(self, seen: SeenIndex, made: Generation, moved: Moved) -> bool:
        """Whether keys went with an index that a client dropped: it was made again over those that are there. In doubt
        they did."""
        at_most = made.documents + moved.written - self._before.written
        return made.documents < 0 or seen.documents < (1 - 2 * SLACK) * at_most

    def _has_fallen(self, seen: SeenIndex, serving: Generation, moved: Moved) -> bool:
        """Whether most keys are gone, and neither the lane removed them nor a TTL did. Where another client has
        the name, a few are enough: `create(overwrite=True, drop=True)` removes what both indexes hold."""
        if self._building is not None:
            return False  # its keys may move
        before = self._seen_before
        fell = (serving.documents if before is None else before.documents) - seen.documents
        fell -= 0 if before is None else seen.attempts - before.attempts
        fell -= moved.removed - self._before.removed
        self._fell = self._fell + fell if fell > 0 else 0
        had = seen.documents + self._fell
        if self.problem or self._was_hidden:
            return self._fell > SLACK * had
        return self._wanted.keys_stay and 2 * self._fell > had
