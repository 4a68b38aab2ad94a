"""Guards of syncd's that can be put out of action, here and nowhere else, to see that the simulation misses them.

Of Lua the text is another one; of Python a method does something else while a run lasts. A test holds each of them
against the code as it is, so that none is taken out in vain.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

from syncd.stores.mongo.times import ZERO
from syncd.stores.redis.functions import library_source
from tests.simulation.redis.scripts import Library, library


@dataclass(frozen=True)
class Guard:
    """One guard, what is there instead, and the seed that shows the difference."""

    name: str
    seed: int
    promise: str
    lua: tuple[tuple[str, str], ...] = ()
    """Texts of the library, and what they become."""
    python: str = ""
    """`module:Class.method`."""
    instead: Callable[[Any], Any] | None = None
    """From the method to what stands in for it."""
    way: str = ""
    """Which contracts the seed is of, as `run` knows them."""

    def library(self) -> Library:
        """The Lua without it."""
        source = library_source()
        for old, new in self.lua:
            if source.count(old) != 1:
                raise ValueError(f"{self.name}: the library has this {source.count(old)} times: {old}")
            source = source.replace(old, new)
        return library(source)

    @contextmanager
    def taken_out(self) -> Iterator[None]:
        """While this lasts, it does nothing."""
        if not self.python:
            yield
            return
        owner, name = _owner(self.python)
        before = vars(owner)[name]
        assert self.instead is not None
        setattr(owner, name, self.instead(before))
        try:
            yield
        finally:
            setattr(owner, name, before)


def _owner(path: str) -> tuple[Any, str]:
    module, _, rest = path.partition(":")
    *classes, name = rest.split(".")
    owner: Any = importlib.import_module(module)
    for part in classes:
        owner = getattr(owner, part)
    return owner, name


def always(value: Any) -> Callable[[Any], Any]:
    return lambda before: lambda *args, **options: value


def _first_verdict(before: Any) -> Any:
    """Every change is applied as its event tells it."""
    return lambda self, ident, time: type(before(self, ident, time)).APPLY


def _lagging(before: Any) -> Any:
    """A read need not be later than what was read before."""
    return lambda self, ids, after, **options: before(self, ids, "", **options)


def _nothing_was_read(before: Any) -> Any:
    """A position says nothing of reads."""
    return lambda raw: replace(before(raw), read_watermark=ZERO)


def _without_sweep(before: Any) -> Any:
    return lambda self, position: iter(())


GUARDS = (
    Guard(
        "`syncd_apply` checks the lease, and the call before (either one stops most late calls)", 481, "fenced",
        lua=(
            ("  if held ~= args[2] then\n", "  if not held then\n"),
            ("~= args[6] then return {'behind'} end", "== nil then return {'behind'} end"),
        ),
    ),
    Guard(
        "a call is left out where the one before was not applied", 203, "nothing_silent",
        lua=(("~= args[6] then return {'behind'} end", "== nil then return {'behind'} end"),),
    ),
    Guard(
        "a whole write deletes the hash before it writes it", 3, "never_torn",
        lua=(
            ("    if whole and found ~= 'none' then redis.call('DEL', key) end\n", ""),
            ("operations.h = {needs = 'hash', width = counted(2), write = function(key, args, i, last, found)\n"
             "  if found ~= 'none' then redis.call('DEL', key) end\n",
             "operations.h = {needs = 'hash', width = counted(2), write = function(key, args, i, last, found)\n"),
        ),
    ),
    Guard(
        "a claim of a moving key carries the time of its state", 160, "never_backwards",
        lua=(("if owner and owner ~= id and since > time then", "if false then"),),
    ),
    Guard(
        "a document that moved leaves a key alone that another one has by now", 9, "nothing_lost",
        lua=(("if old and old ~= keep and (owner_of(owners, old) or id) == id then", "if old and old ~= keep then"),),
    ),
    Guard(
        "a change is asked for what was read before", 9, "never_backwards",
        python="syncd.to_redis.apply.watermarks:Watermarks.verdict", instead=_first_verdict,
    ),
    Guard(
        "a chunk leaves out what the stream wrote later", 9, "never_backwards",
        python="syncd.to_redis.apply.watermarks:Watermarks.newer", instead=always(set()),
    ),
    Guard(
        "a read is later than the changes that it answers", 9, "nothing_lost",
        python="syncd.stores.mongo.reads.lookup:Lookup.by_ids", instead=_lagging,
    ),
    Guard(
        "the sweep", 24, "no_ghosts",
        python="syncd.to_redis.copy.snapshot:SnapshotReader._sweep", instead=_without_sweep,
    ),
    Guard(
        "a run knows how late the states are that runs before it have read", 168, "never_backwards",
        python="syncd.stores.redis.records.position:_decode", instead=_nothing_was_read,
    ),
    Guard(
        "a part of a key is written only where the key is", 77, "never_torn",
        lua=(("'none' or stale then return operation.partial and 'absent' end", "'none' then return end"),),
    ),
    Guard(
        "every lease has an epoch of its own", 6, "fenced",
        lua=(("  redis.call('HINCRBY', keys[2], 'epoch', 1)\n", ""),),
    ),
)  # fmt: skip
