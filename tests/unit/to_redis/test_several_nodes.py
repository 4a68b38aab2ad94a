"""The apply log where each call has a part for each node of a cluster, and every node a record of its own."""

from __future__ import annotations

from copy import deepcopy
from dataclasses import replace
from typing import Any

from bson import ObjectId
from hypothesis import given, settings
from hypothesis import strategies as st

from syncd.plan.keys.templates import decode_key_value
from syncd.plan.to_redis.change import Write
from syncd.plan.values.raw import encode
from syncd.stores.mongo.reads.ranges import ALL, Range
from syncd.stores.redis.records.position import SNAPSHOT, STREAM, SWEEP, Position
from syncd.stores.redis.records.positions import earliest
from syncd.to_redis.apply.apply_log import Answer, ApplyLog, CallState
from syncd.to_redis.apply.calls.fan_out import merged
from syncd.to_redis.apply.calls.writer import Reply
from syncd.to_redis.apply.pipeline import _answer
from tests.unit.to_redis.apply_model import Target, World, at

NODES = 3


class Node(Target):
    """One node: a record of its own, and a replica that is some calls behind."""

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self.applied: Any = None
        self.replica: Any = None

    def apply(self, writes: list[Write], versions: dict[str, int], after: Position) -> tuple[Answer, Any]:
        return super().apply(writes, versions, replace(after))  # each node keeps one of its own

    def check_position(self, after: Position) -> None:
        assert after.read_watermark >= self.position.read_watermark, "the read watermark went back"

    def replicate(self) -> None:
        self.replica = deepcopy((self.there, self.shown, self.stale, self.position))

    def fail_over(self) -> None:
        """The replica takes its place, and what it had not got is lost."""
        self.there, self.shown, self.stale, self.position = deepcopy(self.replica)


class Cluster(World):
    """A lane whose documents are on several nodes."""

    def __init__(self, seed: int) -> None:
        super().__init__(seed)
        self.nodes = [Node(self.source, self.random) for _ in range(NODES)]
        for node in self.nodes:
            node.position = replace(self.target.position)
            node.replicate()
        self.crashes = 0
        self.start()

    def start(self) -> None:
        if not hasattr(self, "nodes"):
            super().start()
            return
        self.target.position = earliest([node.position for node in self.nodes])
        super().start()
        self.log = ApplyLog(self.target.position, several=True)
        self.builder.watermarks = self.log.watermarks
        self.reads.__init__(self.log.watermarks)  # type: ignore[misc]
        self.on_the_way = []  # type: ignore[assignment]
        self.numbers = [[0, 0] for _ in self.nodes]
        for node in self.nodes:
            node.applied = 0

    def node_of(self, ident: str) -> int:
        return int(decode_key_value(ident)) % NODES

    def split(self, writes: list[Write]) -> list[list[tuple[int, Write]]]:
        parts: list[list[tuple[int, Write]]] = [[] for _ in self.nodes]
        for number, write in enumerate(writes):
            ident = getattr(write, "ident", None)
            parts[0 if ident is None else self.node_of(ident)].append((number, write))
        return parts

    def launch(self, call: Any) -> None:
        """What FanOut.send does: each part names the call before it on the same node."""
        parts, sent = self.split(call.payload), []
        is_for_all = not any(parts) or self.random.random() < 0.2
        for at_node, part in enumerate(parts):
            if part or is_for_all:
                number = self.numbers[at_node][0] + 1
                sent.append((at_node, part, number, self.numbers[at_node][1]))
                self.numbers[at_node] = [number, number]
        self.on_the_way.append((call, sent))

    def say(self) -> tuple[Any, Reply]:
        """Every part is answered by its node alone."""
        call, sent = self.on_the_way.pop(0)
        replies = []
        for at_node, part, number, follows in sent:
            node = self.nodes[at_node]
            if node.applied != follows:
                replies.append((0, Reply([], [], behind=True)))
                continue
            said, refusals = node.apply([write for _, write in part], self._versions(call), call.after)
            found = [(part[n][0], why) for n, why in refusals]
            replies.append(
                (0, Reply(found if said is Answer.REFUSED else [], found if said is Answer.FAILED else []))
            )
            if said is Answer.APPLIED:
                node.applied = number
        for (at_node, *_), (_, reply) in zip(sent, replies, strict=True):
            if not reply.ok:
                self.numbers[at_node][1] = self.nodes[at_node].applied
        return call, merged(replies)

    def crash(self) -> None:
        """The daemon dies, each node got some of what was sent; perhaps one of them fails over."""
        self.crashes += 1
        while self.on_the_way and self.random.random() < 0.5:
            call, sent = self.on_the_way[0]
            self.on_the_way[0] = (call, [part for part in sent if self.random.random() < 0.6])
            self.say()
        if self.random.random() < 0.5:
            self.random.choice(self.nodes).fail_over()
        self.start()

    def step(self) -> None:
        for node in self.nodes:
            if self.random.random() < 0.1:
                node.replicate()
        super().step()

    def _receive(self, call: Any) -> None:
        expected, outcome = self.say()
        assert expected is call
        assert self.log.answered(_answer(outcome), outcome.refused + outcome.failed) is call
        if call.state is CallState.CONFIRMED:
            self._check_confirmed()

    def merge(self) -> None:
        """What readers see of all nodes."""
        self.target.shown, self.target.there, self.target.stale = {}, set(), set()
        for number, node in enumerate(self.nodes):
            own = [ident for ident in node.shown if self.node_of(ident) == number]
            self.target.shown |= {ident: node.shown[ident] for ident in own}
            self.target.there |= {ident for ident in node.there if self.node_of(ident) == number}
            self.target.stale |= {ident for ident in node.stale if self.node_of(ident) == number}

    def _check_confirmed(self) -> None:
        self.merge()
        super()._check_confirmed()


@settings(max_examples=200, deadline=None)
@given(st.integers(0, 2**32))
def test_any_order_of_events_on_several_nodes(seed: int) -> None:
    """nothing_lost, never_backwards, never_torn, no_ghosts: parts of calls that some nodes apply and others refuse or
    never get, crashes between them, and nodes that fail over and lose their last writes, each its own."""
    world = Cluster(seed)
    for _ in range(80):
        world.step()
    world.finish()


def position(time: int, **more: Any) -> Position:
    token = {"_data": f"82{at(time)}"}
    return Position(token=token, time=at(time), read_watermark=at(more.pop("read", time)), **more)


def left(number: Any) -> dict[int, Range]:
    return {0: Range(encode({"_id": number}))}


@given(st.lists(st.tuples(st.integers(0, 50), st.integers(0, 50)), min_size=1, max_size=5))
def test_a_lane_is_as_far_as_all_its_nodes(found: list[tuple[int, int]]) -> None:
    """nothing_lost, never_backwards: the earliest token of all records, and a read watermark that no state is later
    than."""
    parts = [position(time, read=read) for time, read in found]
    one = earliest(parts)
    assert one.time == min(part.time for part in parts)
    assert one.token in [part.token for part in parts if part.time == one.time]
    if len(parts) > 1:
        assert one.read_watermark == max(max(part.time, part.read_watermark) for part in parts)


def test_what_is_left_to_copy() -> None:
    """nothing_lost: what any node has yet to copy, and everything where that cannot be said."""
    three, two = position(3, phase=SNAPSHOT, left=left(7), copied=7), position(4, phase=SWEEP, copied=9)
    one = position(5, phase=SNAPSHOT, left=left(5), copied=5)
    found = earliest([three, one, two])
    assert (found.phase, found.left, found.copied, found.time) == (SNAPSHOT, left(5), 5, at(3))
    assert earliest([two, position(6, phase=STREAM)]).phase == SWEEP
    for other in ("a", ObjectId(), b"x", True):
        odd = position(5, phase=SNAPSHOT, left=left(other), copied=5)
        assert (earliest([three, odd]).left, earliest([three, odd]).copied) == ({0: ALL}, 0)


def test_a_record_that_is_missing_is_a_lost_position() -> None:
    """nothing_lost: what was written is remembered, so that the copy may remove it; and what a person said."""
    owned = [["card", "film:{_id}", "hash"]]
    known = position(5, fingerprint="f", owned=owned)
    found = earliest([known, Position()])
    assert (found.token, found.owned, found.next) == (None, owned, SWEEP)
    assert earliest([known, Position(next="pause", fingerprint="f")]).next == "pause"
    asked = [replace(position(time), token=None, resume=position(time).token) for time in (7, 6)]
    found = earliest([*asked, known])
    assert (found.token, found.resume, found.time) == (None, known.token, at(5)), "a copy that was asked for"
    assert earliest([known, position(6, fingerprint="g")]).fingerprint == "", "an edit that some know of only"


def test_a_call_that_one_node_applied_is_no_confirmation() -> None:
    """nothing_lost: behind a call that a node refused, what others have applied comes again, and is not confirmed."""
    assert _answer(merged([(0, Reply([], [])), (3, Reply([(1, "absent")], []))])) is Answer.FAILED
    assert (
        _answer(merged([(0, Reply([], [], behind=True)), (3, Reply([], [], behind=True))])) is Answer.LEFT_OUT
    )
    both = merged([(0, Reply([(0, "type")], [])), (3, Reply([(1, "absent")], []))])
    assert (_answer(both), both.refused) == (Answer.REFUSED, [(0, "type"), (4, "absent")])
