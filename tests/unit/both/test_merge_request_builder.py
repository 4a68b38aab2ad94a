"""What a lane that goes both ways writes of documents: merge requests, and dead letters for documents that can have no
key."""

from __future__ import annotations

from typing import Any

import pytest
from bson.datetime_ms import DatetimeMS

from syncd.both.merge_request_builder import MergeRequestBuilder
from syncd.plan.both.plan import compile_two_way
from syncd.plan.keys.templates import encode_key_value
from syncd.plan.to_redis.change import Dead, Drop, MergeRequest, Write
from syncd.to_redis.apply.watermarks import Watermarks
from syncd.to_redis.stream.window import Window
from tests.support.contracts import model, projection

SYNC = {"direction": "both", "capture": "outbox", "on_conflict": "newest"}
SECOND = "65a1b2c3%08x"
FAR = 253402300800000  # milliseconds: the first of the year 10000


@pytest.fixture
def builder() -> MergeRequestBuilder:
    plan = compile_two_way(model(projection({"a": "a"}, key="x:{_id}"), sync=SYNC))
    unread: Any = None
    return MergeRequestBuilder(plan, unread, Watermarks())


def event(op: str, document_id: Any, wall: float) -> dict[str, Any]:
    return {
        "_id": {"_data": f"82{SECOND % int(wall)}"},
        "operationType": op,
        "documentKey": {"_id": document_id},
        "wallTime": wall,
    }


def requested(writes: list[Write]) -> list[tuple[str, int]]:
    return [(write.key, write.wall) for write in writes if isinstance(write, MergeRequest)]


def test_a_window_marks_each_document_once(builder: MergeRequestBuilder) -> None:
    """With the time of its last change; all of them are covered, and nothing is read."""
    events = [
        event("insert", 1, 5.0),
        event("update", 2, 6.0),
        event("drop", 1, 6.5),
        event("delete", 1, 7.0),
    ]
    writes, covers = builder.window(Window(events, events[-1]["_id"], SECOND % 7))
    assert requested(writes) == [("x:1", 7), ("x:2", 6)]
    assert (set(covers.written), covers.time, covers.passed, covers.read) == (
        {"1", "2"},
        SECOND % 7,
        SECOND % 7,
        (),
    )


def test_what_is_asked_for_has_no_time(builder: MergeRequestBuilder) -> None:
    """A copy, a replay and a check want the key back, whatever became of it."""
    writes = [
        *builder.copies({"1": {"_id": 1}}, SECOND % 7),
        *builder.found("2", {"_id": 2}, SECOND % 7, {}),
        *builder.missing("3", 3),
    ]
    assert requested(writes) == [("x:1", 0), ("x:2", 0), ("x:3", 0)]


def test_a_document_without_a_key(builder: MergeRequestBuilder) -> None:
    """Has a dead letter while it is there, and nothing when it is gone."""
    odd = DatetimeMS(FAR)
    there = [*builder.copies({"odd": {"_id": odd}}, SECOND % 7), *builder.found("odd", {"_id": odd}, "", {})]
    assert [type(write) for write in there] == [Dead, Dead]
    assert builder.missing("odd", odd) == []
    gone = event("delete", odd, 7.0)
    assert builder.window(Window([gone], gone["_id"], SECOND % 7))[0] == []


def test_keys_without_a_document(builder: MergeRequestBuilder) -> None:
    """Are marked, unless the stream has written them since, or they stand for no document."""
    (shape,) = builder.plan.shapes
    ids = {encode_key_value(n): f"x:{n}" for n in (1, 2)} | {"odd": f"x:%~date~{FAR}"}
    drops = [Drop(shape, ident, key) for ident, key in ids.items()]
    assert requested(builder.orphans(drops, {"1", "odd"})) == [("x:1", 0)]
