"""Whether documents would lose the keys that they have by a copy, as by a path that is mistyped in an edit."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from syncd.plan.keys.templates import encode_key_value
from syncd.plan.to_redis.change import Drop, Elements, Put
from syncd.plan.to_redis.compile import Plan
from syncd.plan.to_redis.shape import Shape
from syncd.stores.redis.store import translated
from syncd.to_redis.context import RunContext
from syncd.to_redis.copy.copier import Reads
from syncd.to_redis.copy.survey import Survey

SAMPLE = 1000
"""Documents. A mistake in a path is one for all of them."""


class KeptKeys:
    """Of one run. Only reads."""

    def __init__(self, run: RunContext, reads: Reads) -> None:
        lane = run.lane
        self._plan, self._redis, self._control = lane.plan, lane.redis, lane.control
        self._lookup, self._reads, self._foreign_keys = run.lookup, reads, run.foreign_keys

    def surveys(self) -> Iterator[tuple[Shape, Survey]]:
        """For each projection, of the first documents: how many have a key, and how many of these would lose it."""
        if not isinstance(self._plan, Plan) or not self._plan.shapes:
            return
        found, time_of, _ = self._lookup.step(None, SAMPLE, self._reads.after())
        self._reads.saw(time_of)
        made = self._plan.copies({encode_key_value(one["_id"]): one for one in found}, time_of)
        writes = [write for write in made if isinstance(write, Put | Elements | Drop)]
        for shape in self._plan.shapes:
            ours = {write.ident: write for write in writes if write.shape is shape}
            has = self._has_key(shape, ours)
            gone = [ident for ident, write in ours.items() if ident in has and _removes(write)]
            yield shape, Survey(keys=len(has), gone=len(gone))

    def _has_key(self, shape: Shape, writes: Mapping[str, Put | Elements | Drop]) -> set[str]:
        """Documents by ident. A map knows of whom a key is that is no function of `_id`."""
        if not shape.by_id:
            name, template = shape.name, shape.template.text
            known = self._control.members if shape.is_shared else self._control.keys_by_id
            return self._there(list(writes), [("HEXISTS", known(name, template), ident) for ident in writes])
        keys = {ident: write.key for ident, write in writes.items() if write.key is not None}
        strange = self._foreign_keys.among(list(keys.values()))
        own = {ident: key for ident, key in keys.items() if key not in strange}
        return self._there(list(own), [("EXISTS", key) for key in own.values()])

    def _there(self, idents: Sequence[str], commands: Sequence[tuple[str, ...]]) -> set[str]:
        pipe = self._redis.client.pipeline(transaction=False)
        for command in commands:
            pipe.execute_command(*command)
        with translated():
            replies = pipe.execute() if commands else []
        return {ident for ident, is_there in zip(idents, replies, strict=True) if is_there}


def _removes(write: Put | Elements | Drop) -> bool:
    return isinstance(write, Drop) or (isinstance(write, Elements) and not write.puts)
