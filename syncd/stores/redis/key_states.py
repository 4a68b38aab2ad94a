"""Reads keys that the application writes, with what syncd remembers of them. Only reads, in any process."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import chain
from typing import Any, NamedTuple

from syncd.errors import SlotMovedError
from syncd.plan.to_mongo.state import AWAY, COLON, FoundKey, StatePlan
from syncd.plan.types import CapturedSamples
from syncd.stores.redis.records.position import ControlKeys
from syncd.stores.redis.scan import pages
from syncd.stores.redis.store import RedisStore, clock_us, translated

KEYS_A_CALL = 200
SCAN_COUNT = 1000
MOST_BYTES = 4 * 1024 * 1024
"""Of one call: behind it the application's commands wait."""


class States(NamedTuple):
    """Keys, each as it was at one moment."""

    found: dict[bytes, FoundKey]
    last: str
    """The last entry that the outbox has had behind the reads; "" where there is none."""
    moment: int
    """Redis's clock behind the reads, in microseconds."""


def members_of(redis: RedisStore, plan: StatePlan, key: bytes) -> Iterator[list[bytes]]:
    """Names of all members of a key that are there from the begin of this to its end, some of them more than once; of
    others some. None of a key of another type."""
    form, cursor = plan.of_members, 0
    assert form is not None
    while said := _in_one_step(redis, plan, key, form.page(key, cursor)):
        cursor, members = form.scanned(said[0])
        yield [COLON.join((key, member)) for member in members]
        if cursor == 0:
            return


def samples_of(
    redis: RedisStore, plan: StatePlan, key: bytes, before: int = 0
) -> Iterator[dict[bytes, bytes]]:
    """The same of a series, from the newest sample on, or from those before a moment; each with its content."""
    form, cursor = plan.of_members, before
    assert isinstance(form, CapturedSamples)
    while said := _in_one_step(redis, plan, key, form.page(key, cursor), ("TS.INFO", key)):
        cursor, _ = form.scanned(said[0])
        yield {COLON.join((key, moment)): content for moment, content in form.contents(said).items()}
        if cursor == 0:
            return


def _in_one_step(redis: RedisStore, plan: StatePlan, key: bytes, *commands: tuple[Any, ...]) -> list[Any]:
    """What commands say of a key; nothing where it is not of the type."""
    pipe = redis.at_key(key).client.pipeline(transaction=True)
    pipe.type(key)
    for command in commands:
        pipe.execute_command(*command)
    with translated():
        kind, *said = pipe.execute(raise_on_error=False)
        if kind != plan.type.encode():
            return []
        if error := next((one for one in said if isinstance(one, Exception)), None):
            raise error
    return said


def by_node(
    redis: RedisStore, plan: StatePlan, names: Sequence[bytes]
) -> Iterator[tuple[RedisStore, list[bytes]]]:
    """Keys, or members by the node of their key."""
    if plan.of_members is None:
        yield from redis.by_node(names)
        return
    found: dict[int, list[bytes]] = {}
    for name in names:
        found.setdefault(redis.node_of(plan.key_of(name)), []).append(name)
    for number, some in found.items():
        yield redis.nodes[number], some


class KeyStates:
    """The keys of one contract."""

    def __init__(self, redis: RedisStore, plan: StatePlan) -> None:
        self._redis, self._plan, self._keys = redis, plan, ControlKeys(plan.name, place=redis.place)

    def read(self, keys: Sequence[bytes]) -> States:
        """What these keys hold. Raises StoreError."""
        states = States({}, "", 0)
        for node, some in by_node(self._redis, self._plan, keys):
            states = self._read_part(node, some, states)
        gone = [self._plan.key_of(key) for key, found in states.found.items() if not found.is_there]
        is_away = any(found.type == AWAY for found in states.found.values())
        if is_away or self._redis.on_their_way(gone):
            raise SlotMovedError
        return states

    def _read_part(self, node: RedisStore, todo: list[bytes], before: States) -> States:
        """Keys of one node, with those that were read before."""
        found, last, moment = before
        while todo:
            asked = todo[:KEYS_A_CALL]
            reply = self._ask(node, asked)
            last, moment = reply[1].decode(), max(before.moment, clock_us(reply[2:4]))
            some = [self._plan.found(*reply[at : at + 5]) for at in range(4, len(reply), 5)]
            found.update(zip(asked, some, strict=False))
            todo = todo[len(some) :]  # very large keys do not all fit one reply
        return States(found, last, moment)

    def _ask(self, node: RedisStore, keys: list[bytes]) -> list[Any]:
        places, members = self._plan.places(keys)
        at, args = self._keys.at(node.place), [self._plan.type, MOST_BYTES]
        if node.place:
            name = "syncd_look_samples_on_node" if members else "syncd_look_state_on_node"
            return node.call(name, [at.synced, at.outbox], [*args, *places, *members])
        return node.call("syncd_look_state", [at.synced, at.outbox, *places], [*args, *members])

    def pages(self) -> Iterator[list[bytes]]:
        """All keys of the template, as SCAN has it; also a page without any, so that the caller hears of it."""
        for node in self._redis.nodes:
            for page in pages(node.client.scan, also_empty=True, match=self._plan.pattern, count=SCAN_COUNT):
                keys = [key for key in page if self._plan.has_key(key)]
                if self._plan.of_members is None:
                    yield keys
                else:
                    yield from chain([[]], *(members_of(node, self._plan, key) for key in keys))

    def absent(self, keys: Sequence[bytes]) -> list[bytes]:
        """Those of these keys that are not there."""
        if not keys:
            return []
        if self._plan.of_members is not None:
            return [name for name, found in self.read(keys).found.items() if not found.is_there]
        gone: list[bytes] = []
        for node, some in self._redis.by_node(keys):
            pipe = node.client.pipeline(transaction=False)
            for key in some:
                pipe.exists(key)
            with translated():
                there = pipe.execute()
            gone += [key for key, is_there in zip(some, there, strict=True) if not is_there]
        return gone

    def marked(self, keys: Sequence[bytes]) -> set[bytes]:
        """Those of these keys that wait to be merged, of a contract that goes both ways."""
        with translated():
            scores: Any = self._redis.client.execute_command("ZMSCORE", self._keys.merge_requests, *keys)
        return {key for key, score in zip(keys, scores, strict=True) if score is not None}
