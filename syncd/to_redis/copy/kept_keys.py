"""Whether documents would lose the keys that they have by a copy, as by a path that is mistyped in an edit."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from typing import TypeGuard

from syncd.plan.keys.templates import encode_key_value
from syncd.plan.to_redis.change import Drop, Elements, Put, Write
from syncd.plan.to_redis.compile import Plan
from syncd.plan.to_redis.encoded_writes import writes
from syncd.plan.to_redis.shape import Shape
from syncd.plan.values.raw import encode
from syncd.stores.mongo.reads.ranges import Range
from syncd.stores.mongo.store import Document
from syncd.stores.mongo.times import Moment
from syncd.stores.redis.store import RedisStore, translated
from syncd.to_redis.context import RunContext
from syncd.to_redis.copy.copier import Chunk, Copied, Reads, Ready
from syncd.to_redis.copy.survey import Survey

SAMPLE = 1000
"""Documents. A mistake in a path is one for all of them."""


class KeptKeys:
    """Of one run. Only reads."""

    def __init__(self, run: RunContext, reads: Reads) -> None:
        lane = run.lane
        self._plan, self._redis, self._control = lane.plan, lane.redis, lane.control
        self._lookup, self._reads, self._foreign_keys = run.lookup, reads, run.foreign_keys
        self._seen = 0
        self.surveys: dict[Shape, Survey] = defaultdict(Survey)
        """By projection, of the documents that were seen: how many have a key before or behind the copy, and how many
        of these would lose it."""

    def learn(self, item: Copied) -> None:
        """What is about to be applied. Where that takes a key, so many documents are seen that one can judge it."""
        if not isinstance(self._plan, Plan) or self._seen >= SAMPLE:
            return
        if isinstance(item, Chunk):
            self._see(item.documents, item.time)
        elif isinstance(item, Ready):
            self._seen += len(item.encoded_writes)
            self._count(writes(self._plan, item.encoded_writes.items(), item.time))
        if self._seen < SAMPLE and any(one.gone for one in self.surveys.values()):
            self._see_more()
            self._seen = SAMPLE

    def _see_more(self) -> None:
        """The first documents of all, one reply at a time: they may be large."""
        self._seen = 0
        self.surveys.clear()
        cursor: Document | None = None
        while self._seen < SAMPLE:
            found, time_of, upto = self._lookup.step(cursor, SAMPLE, self._reads.after())
            self._reads.saw(time_of)
            self._see(found, time_of)
            end = found[-1] if found else upto
            if end is None:
                return
            cursor, _ = Range(encode({"_id": end["_id"]})).bounds

    def _see(self, documents: Sequence[Document], time: Moment) -> None:
        assert isinstance(self._plan, Plan)
        self._seen += len(documents)
        self._count(self._plan.copies({encode_key_value(one["_id"]): one for one in documents}, time))

    def _count(self, made: Sequence[Write]) -> None:
        for write in made:
            if isinstance(write, Put | Elements) and not _removes(write):
                self.surveys[write.shape].keys += 1
        for shape in self._plan.shapes:
            gone = [one for one in made if _removes(one) and one.shape is shape]
            if gone and (count := self._count_there(shape, gone)):
                self.surveys[shape].keys += count
                self.surveys[shape].gone += count

    def _count_there(self, shape: Shape, gone: Sequence[Drop | Elements]) -> int:
        """How many of these documents have a key. A map knows that where it is no function of `_id`."""
        if shape.by_id:
            keys = [one.key for one in gone if one.key is not None]
            strange = self._foreign_keys.among(keys)
            wanted = self._redis.by_node([key for key in keys if key not in strange])
            return sum(_answers(node, [("EXISTS", key) for key in some]) for node, some in wanted)
        count = 0
        for node in self._redis.nodes:
            control = self._control.at(node.place)
            known = control.members if shape.is_shared else control.keys_by_id
            name = known(shape.name, shape.template.text)
            count += _answers(node, [("HEXISTS", name, one.ident) for one in gone])
        return count


def _answers(node: RedisStore, commands: Sequence[tuple[str, ...]]) -> int:
    """How many of them say yes."""
    pipe = node.client.pipeline(transaction=False)
    for command in commands:
        pipe.execute_command(*command)
    with translated():
        return sum(map(int, pipe.execute() if commands else []))


def _removes(write: object) -> TypeGuard[Drop | Elements]:
    return isinstance(write, Drop) or (isinstance(write, Elements) and not write.puts)
