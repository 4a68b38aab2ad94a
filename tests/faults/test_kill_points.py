"""A daemon that ends at a chosen moment: on the way between it and a server something is held until it is dead
(nothing_lost, never_backwards, no_ghosts).
"""

from __future__ import annotations

import signal
import time
from collections.abc import Callable
from typing import Any, NamedTuple

import pytest
from pymongo import DeleteMany, DeleteOne, InsertOne, UpdateMany, UpdateOne

from tests.faults.conftest import Rig
from tests.support.broken.hold import Hold
from tests.support.check import wait_until
from tests.support.contracts import projection
from tests.support.scene import Flow

COUNT, CHUNK = 400, 20
AHEAD = 4
"""Chunks that may have been read but not applied: two fetched ahead, one in hand, one on its way."""
ORPHAN = 99_999
BEGIN, END = b"phase\r\n$8\r\nsnapshot\r\n", b"phase\r\n$6\r\nstream\r\n"
STOPPING = "stopping: finishing the batches under way"


def film(number: int) -> dict[str, Any]:
    state = "draft" if number % 5 == 0 else "public"
    cast = [{"member": f"m{at}", "score": at} for at in range(number % 3)]
    return {
        "_id": number, "title": f"film {number}", "n": 0, "slug": f"s{number}", "state": state,
        "tags": [f"t{number}", "all"], "cast": cast,
    }  # fmt: skip


def add(rig: Rig, short: str) -> Flow:
    """A contract that takes deltas, one that reads, for it has a filter and arrays, or one whose keys move."""
    fields = ["title", "n"]
    shapes = {
        "delta": [projection(fields), projection(fields, name="doc", type="json")],
        "read": [
            projection(fields),
            projection(name="tags", type="list", value={"from": "tags"}),
            projection(name="cast", type="zset", value={"from": "cast"}),
        ],
        "slug": [projection([*fields, "slug"], key="{slug}")],
    }
    more: dict[str, dict[str, Any]] = {
        "read": {"filter": {"state": "public"}},
        "slug": {"unique": [["slug"]]},
    }
    films = [film(number) for number in range(COUNT)]
    rig.scene.daemon = rig.scene.another_daemon(SYNCD_CHUNK_DOCUMENTS=str(CHUNK))
    sync = {"adopt": True}  # so that a key that was there before goes
    return rig.scene.add(short, *shapes[short], documents=films, sync=sync, **more.get(short, {}))


def change(flow: Flow, turn: int) -> int:
    """Every kind of change, to documents at the beginning, in the middle and at the end. Returns how many."""
    films = flow.collection
    for start in (0, COUNT // 2, COUNT - 20):
        ids = list(range(start, start + 20))
        steps = [
            UpdateOne({"_id": ids[turn]}, {"$set": {"title": f"turn {turn}"}}),
            UpdateMany({"_id": {"$in": ids[3:9]}}, {"$inc": {"n": 1}, "$push": {"tags": "more"}}),
            UpdateMany({"_id": {"$in": ids[9:12]}}, [{"$set": {"slug": {"$concat": ["$slug", "x"]}}}]),
            UpdateOne({"_id": ids[12 + turn]}, {"$set": {"state": "draft" if turn == 1 else "public"}}),
            DeleteMany({"_id": {"$in": [ids[14 + turn], ids[17]]}}),
            InsertOne(film(ids[17]) | {"slug": f"again{ids[17]}{turn * 'x'}", "n": turn}),
            InsertOne(film(1000 * turn + start)),
            # A name goes from one document to another.
            DeleteOne({"_id": ids[17 + turn]}),
            UpdateOne({"_id": ids[2]}, {"$set": {"slug": f"s{ids[17 + turn]}"}}),
        ]
        films.bulk_write(steps)
    return 3 * 20


def applying(flow: Flow, *parts: bytes) -> tuple[bytes, ...]:
    """What a batch for this contract has in it."""
    return b"syncd_apply", flow.names.control("lease").encode(), *parts


def finding(flow: Flow, *parts: bytes) -> tuple[bytes, ...]:
    """What a find on this contract's collection has in it, as BSON."""
    name = flow.collection.name.encode()
    return b"\x02find\x00" + (len(name) + 1).to_bytes(4, "little") + name + b"\x00", *parts


def key(flow: Flow, number: int) -> bytes:
    return flow.key(f"s{number}" if flow.names.short == "slug" else number).encode() + b"\r\n"


class Point(NamedTuple):
    """A moment in the life of one contract; `unfinished`: the snapshot must not count as finished then."""

    short: str
    hold: Callable[[Rig, Flow], Hold]
    unfinished: bool = True


CHUNKS, IDS = b"hint", b"$in\x00"
COPYING = {
    "the start position is not stored": Point(
        "delta", lambda rig, flow: rig.redis_proxy.hold_request(*applying(flow, BEGIN))
    ),
    "the start position is stored, its reply not seen": Point(
        "read", lambda rig, flow: rig.redis_proxy.hold_reply(*applying(flow, BEGIN))
    ),
    "the start position is stored, no document read": Point(
        "slug", lambda rig, flow: rig.mongo_proxy.hold_request(*finding(flow, CHUNKS))
    ),
    "between two chunks, deltas": Point(
        "delta", lambda rig, flow: rig.mongo_proxy.hold_request(*finding(flow, CHUNKS), nth=14)
    ),
    "between two chunks, filtered": Point(
        "read", lambda rig, flow: rig.mongo_proxy.hold_request(*finding(flow, CHUNKS), nth=14)
    ),
    "a chunk is read, its reply not seen": Point(
        "slug", lambda rig, flow: rig.mongo_proxy.hold_reply(*finding(flow, CHUNKS), nth=14)
    ),
    "a chunk is read, not applied": Point(
        "slug", lambda rig, flow: rig.redis_proxy.hold_request(*applying(flow, key(flow, 301)))
    ),
    "a chunk is applied, its reply not seen": Point(
        "read", lambda rig, flow: rig.redis_proxy.hold_reply(*applying(flow, key(flow, 301)))
    ),
    "the last chunk is read, not applied": Point(
        "delta", lambda rig, flow: rig.redis_proxy.hold_request(*applying(flow, key(flow, COUNT - 1)))
    ),
    "the last chunk is applied, before the sweep": Point(
        "delta", lambda rig, flow: rig.redis_proxy.hold_request(b"\r\nSCAN\r\n", key(flow, 0)[:-3])
    ),
    "the last chunk is applied, before the sweep of moving keys": Point(
        "slug", lambda rig, flow: rig.redis_proxy.hold_request(b"\r\nHSCAN\r\n")
    ),
    "the sweep asks which documents are there": Point(
        "read", lambda rig, flow: rig.mongo_proxy.hold_reply(*finding(flow, IDS))
    ),
    "the sweep has found an orphan": Point(
        "delta", lambda rig, flow: rig.redis_proxy.hold_request(*applying(flow, key(flow, ORPHAN)))
    ),
    "the sweep has removed an orphan, its reply not seen": Point(
        # The call behind it may be on its way already, and says that the sweep is done: Redis took both.
        "read",
        lambda rig, flow: rig.redis_proxy.hold_reply(*applying(flow, key(flow, ORPHAN))),
        unfinished=False,
    ),
    "the sweep is done, the end not stored": Point(
        "slug", lambda rig, flow: rig.redis_proxy.hold_request(*applying(flow, END))
    ),
    "the end is stored, its reply not seen": Point(
        "delta", lambda rig, flow: rig.redis_proxy.hold_reply(*applying(flow, END)), unfinished=False
    ),
}
STREAMING = {
    "changes are read, not applied, deltas": Point(
        "delta", lambda rig, flow: rig.redis_proxy.hold_request(*applying(flow, key(flow, 4)))
    ),
    "changes are read, not applied, moving keys": Point(
        "slug", lambda rig, flow: rig.redis_proxy.hold_request(*applying(flow, key(flow, 4)))
    ),
    "changes are applied, their reply not seen, deltas": Point(
        "delta", lambda rig, flow: rig.redis_proxy.hold_reply(*applying(flow, key(flow, 4)))
    ),
    "changes are applied, their reply not seen, moving keys": Point(
        "slug", lambda rig, flow: rig.redis_proxy.hold_reply(*applying(flow, key(flow, 4)))
    ),
    "documents are not yet looked up": Point(
        "read", lambda rig, flow: rig.mongo_proxy.hold_request(*finding(flow, IDS))
    ),
    "documents are looked up, the answer not seen": Point(
        "read", lambda rig, flow: rig.mongo_proxy.hold_reply(*finding(flow, IDS))
    ),
    "documents are looked up, not applied": Point(
        "read", lambda rig, flow: rig.redis_proxy.hold_request(*applying(flow, key(flow, 4)))
    ),
}


def kill(rig: Rig, hold: Hold) -> None:
    """kill -9; what was held goes with the daemon."""
    del hold
    rig.scene.daemon.kill()


def stop(rig: Rig, hold: Hold) -> None:
    """SIGTERM; what was held goes on only after it, so that the daemon ends at this very point, or soon after."""
    daemon = rig.scene.daemon
    daemon.process.signal(signal.SIGTERM)
    wait_until(lambda: daemon.logs(event=STOPPING), 10)
    time.sleep(0.2)  # the lane is asked right after that line; where it still goes on, nothing is proved less
    hold.release()
    assert daemon.wait_exit() == 0


STOPS = (
    "the start position is stored, no document read",
    "between two chunks, deltas",
    "a chunk is read, its reply not seen",
    "a chunk is read, not applied",
    "the last chunk is applied, before the sweep",
    "the sweep has found an orphan",
    "documents are looked up, the answer not seen",
    "changes are read, not applied, deltas",
)
"""Where a graceful stop, too, leaves something undone. Everywhere else it is the same as having got there."""


def endings(points: dict[str, Point]) -> pytest.MarkDecorator:
    both = [(name, end) for name in points for end in (kill, stop) if end is kill or name in STOPS]
    cases = [pytest.param(points[name], end, id=f"{end.__name__}: {name}") for name, end in both]
    return pytest.mark.parametrize(("point", "end"), cases)


# Both stores hold at that moment what they hold at another point.
@pytest.mark.at_scale(
    "kill: the start position is stored, no document read", "kill: between two chunks, filtered"
)
@endings(COPYING)
def test_an_end_while_a_snapshot_runs(rig: Rig, point: Point, end: Callable[[Rig, Hold], None]) -> None:
    """nothing_lost, no_ghosts: killed or stopped at a named point of a snapshot, the next start goes on behind the last
    chunk that was applied, never takes an unfinished snapshot for a finished one, and ends with every document."""
    flow = add(rig, point.short)
    if point.short != "slug":
        flow.redis.hset(flow.key(ORPHAN), "title", "an orphan")
    flow.count_reads()
    hold = point.hold(rig, flow)
    rig.scene.daemon.launch()
    hold.wait()
    end(rig, hold)
    phase, copied = flow.position().get("phase"), flow.copied()
    if phase == b"stream":
        assert end is stop or not point.unfinished
        flow.assert_same()
    changed = change(flow, 1)
    before = len(rig.scene.daemon.logs(event="snapshot started"))
    rig.scene.start()
    flow.wait_live()
    read = flow.documents_read()
    flow.wait_same()
    assert not flow.dead_letters()
    if phase != b"stream":  # then we, too, have read everything
        assert read <= COUNT + AHEAD * CHUNK + changed
    again = rig.scene.daemon.logs(event="snapshot started")[before:]
    reason = "no position" if phase is None else "going on"
    wanted = [] if phase == b"stream" else [(reason, copied)]
    assert [(entry["reason"], entry["copied"]) for entry in again] == wanted


@pytest.mark.at_scale(
    "kill: documents are not yet looked up", "kill: documents are looked up, the answer not seen"
)
@endings(STREAMING)
def test_an_end_while_changes_stream(rig: Rig, point: Point, end: Callable[[Rig, Hold], None]) -> None:
    """nothing_lost, never_backwards: killed or stopped at a named point of a batch, the next start goes on at the
    position that is stored with the data, copies nothing again, and ends with every document."""
    flow = add(rig, point.short)
    rig.scene.start()
    flow.wait_live()
    flow.assert_same()
    hold = point.hold(rig, flow)
    change(flow, 1)
    hold.wait()
    end(rig, hold)
    change(flow, 2)
    rig.scene.start()
    flow.wait_live()
    flow.wait_same()
    assert not flow.dead_letters()
    assert len(rig.scene.daemon.logs(event="snapshot started")) == 1
