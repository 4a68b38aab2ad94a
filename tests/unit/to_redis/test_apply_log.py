"""The apply log: what is confirmed shows, and nothing older is written over it, whatever Redis refuses and when."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import syncd.to_redis.apply.apply_log as module
from syncd.errors import InvariantError
from syncd.stores.redis.records.position import STREAM, SWEEP, Position
from syncd.to_redis.apply.apply_log import NOTHING, Answer, ApplyLog, Call, Do
from syncd.to_redis.apply.units import Step, Unit
from syncd.to_redis.apply.watermarks import Coverage, Verdict, Watermarks
from tests.unit.to_redis.apply_model import World, at

Log = ApplyLog[Unit, str]


@settings(max_examples=150, deadline=None)
@given(st.integers(0, 2**32))
def test_any_order_of_events(seed: int) -> None:
    """nothing_lost, never_backwards, never_torn, no_ghosts: a copy beside a stream, refusals, failures, parts that are
    too big and crashes, in any order."""
    world = World(seed)
    for _ in range(60):
        world.step()
    world.finish()


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**32))
def test_with_room_for_three_watermarks(seed: int) -> None:
    """bounded: documents that are too many for watermarks of their own cost reads, and no promise."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("syncd.to_redis.apply.watermarks.MOST_DOCUMENTS", 3)
        world = World(seed)
        for _ in range(60):
            world.step()
            assert len(world.log.watermarks._documents) <= 3
        world.finish()


def log_of(*works: Unit) -> Log:
    log = Log(Position(phase=SWEEP))
    for work in works:
        log.add(work)
    return log


def work_off(log: Log, *, drain: bool = False) -> list[tuple[Do, int]]:
    """What a log says, where every call is applied."""
    said = []
    while (what := log.next(drain=drain)) is not None:
        do, call = what
        said.append((do, call.work._changes["copied"]))  # type: ignore[attr-defined]
        if do is Do.BUILD:
            log.built(call, "", Coverage())
        elif do is Do.SEND:
            log.launched(call)
        else:
            log.answered(Answer.APPLIED)
    return said


def launched(log: Log, covers: Coverage = NOTHING) -> Call[Unit, str]:
    what = log.next()
    assert what is not None
    log.built(what[1], "", covers)
    log.launched(what[1])
    return what[1]


def test_the_third_is_built_while_two_are_in_flight() -> None:
    """Redis and the lane work at the same time, and no more than two calls are on their way."""
    said = work_off(log_of(*(Step(copied=n) for n in (1, 2, 3))), drain=True)
    build, send, receive = Do.BUILD, Do.SEND, Do.RECEIVE
    assert said == [
        (build, 1), (send, 1), (build, 2), (send, 2), (build, 3), (receive, 1), (send, 3), (receive, 2), (receive, 3)
    ]  # fmt: skip


@pytest.mark.parametrize("answer", [Answer.REFUSED, Answer.FAILED])
def test_a_refusal_takes_back_what_is_behind_it(answer: Answer) -> None:
    """The position goes back before the refused call, and all is built again in the order of before."""
    log = log_of(*(Step(copied=n) for n in (1, 2, 3)))
    launched(log)
    launched(log)
    built = log.next()
    assert built is not None
    log.built(built[1], "", Coverage())
    assert log.position.copied == 2
    log.answered(answer, [(0, "type")])
    assert log.position.copied == 2, "what is in flight is not known yet"
    assert log.next() is not None
    log.answered(Answer.LEFT_OUT)
    assert (log.position.copied, log.confirmed.copied) == (0, 0)
    said = work_off(log, drain=True)
    assert [n for do, n in said if do is Do.BUILD] == [1, 2, 3]
    assert log.confirmed.copied == 3


def test_replies_out_of_order() -> None:
    """A call that is applied behind one that was not, or left out behind one that was, is a bug and ends the run."""
    log = log_of(Step(copied=1), Step(copied=2))
    launched(log)
    with pytest.raises(InvariantError, match="out of its order"):
        log.answered(Answer.LEFT_OUT)
    launched(log)
    log.answered(Answer.REFUSED, [(0, "type")])
    with pytest.raises(InvariantError, match="out of its order"):
        log.answered(Answer.APPLIED)


def test_a_call_that_was_not_built() -> None:
    """Nothing is sent that was not built since the last refusal."""
    log = log_of(Step(copied=1))
    what = log.next()
    assert what is not None
    with pytest.raises(InvariantError, match="SEND"):
        log.launched(what[1])


def test_a_read_in_flight_counts() -> None:
    """What a read on its way covers is skipped behind it; when its call is left out, it is not."""
    log = log_of(Step())
    marks = log.watermarks
    launched(log, Coverage(["a"], at(8), {"a": 1}, at(8)))
    assert marks.verdict("a", at(8)).name == "SKIP"
    assert log.position.read_watermark == at(8)
    log.answered(Answer.REFUSED)
    assert marks.verdict("a", at(8)).name == "APPLY"
    assert log.position.read_watermark == at(0)
    assert marks.horizon == at(8), "a read that began meanwhile is that late"


def test_a_call_of_which_a_part_was_written() -> None:
    """Behind a failed call every change that may show is answered by a read, as in the next run."""
    log = log_of(Step(time=at(6)))
    launched(log, Coverage(["a"], at(6), passed=at(6)))
    log.answered(Answer.FAILED)
    assert log.position.read_watermark == at(6)
    assert log.watermarks.verdict("a", at(6)).name == "READ"
    assert log.watermarks.verdict("a", at(7)).name == "APPLY"


def test_chunks_that_came_before_are_awaited() -> None:
    """What the stream has written is remembered until the chunks that were read before it are applied, whenever it is
    told that later ones follow."""
    log = log_of(Step())
    launched(log, Coverage(["a"], at(6), passed=at(6)))
    log.add(Step())  # a chunk of before 6
    log.chunks_from(at(7))
    log.answered(Answer.APPLIED)
    assert log.watermarks.newer(["a"], at(5)) == {"a"}
    work_off_any(log)
    assert log.watermarks.newer(["a"], at(5)) == set()


def work_off_any(log: Log) -> None:
    launched(log)
    log.answered(Answer.APPLIED)


def test_the_end_of_a_copy() -> None:
    """Events may be taken as they are when the step that ends a copy is confirmed, not before."""
    log = log_of(Step(phase=STREAM))
    launched(log)
    assert log.watermarks.copying
    log.answered(Answer.APPLIED)
    assert not log.watermarks.copying


def test_an_idle_stream_behind_a_call() -> None:
    """The position of an idle stream is confirmed with the call before it, and gone with it when that is refused."""
    for answer, expected in ((Answer.APPLIED, "b"), (Answer.REFUSED, "")):
        log = log_of(Step(copied=1))
        launched(log)
        log.idle({"_data": "b"}, at(9))
        assert log.confirmed.token is None
        log.answered(answer)
        assert (log.confirmed.token or {"_data": ""})["_data"] == expected
        assert (log.position.token or {"_data": ""})["_data"] == expected


def test_it_is_pure() -> None:
    """The log and its watermarks know no clock, thread or socket: a schedule of events has one outcome."""
    folder = Path(module.__file__).parent
    for name in ("apply_log.py", "watermarks.py"):
        tree = ast.parse((folder / name).read_text())
        imported = {
            node.module if isinstance(node, ast.ImportFrom) else node.names[0].name
            for node in tree.body
            if isinstance(node, ast.ImportFrom | ast.Import)
        }
        assert imported <= {
            "__future__", "collections", "collections.abc", "dataclasses", "enum", "typing", "syncd.errors",
            "syncd.to_redis.apply.watermarks", "syncd.stores.mongo.times",
        }  # fmt: skip


def test_a_transaction_that_is_longer_than_a_call() -> None:
    """What was read stays covered until the stream has left the time of the read: more changes may be of that time."""
    marks = Watermarks()
    marks.sent(Coverage(["a"], at(8), ["a"], at(8), passed=at(8)))
    marks.applied()
    assert marks.verdict("a", at(8)) is Verdict.SKIP
    marks.sent(Coverage(["b"], at(9), passed=at(9)))
    marks.applied()
    assert marks.verdict("a", at(8)) is Verdict.APPLY
    assert marks.is_clear(at(9))


def test_too_many_documents(monkeypatch: pytest.MonkeyPatch) -> None:
    """Above their number, document watermarks become one range watermark: what was skipped is read again."""
    monkeypatch.setattr("syncd.to_redis.apply.watermarks.MOST_DOCUMENTS", 2)
    marks = Watermarks()
    for ident, time in (("a", 7), ("b", 8), ("c", 9)):
        marks.sent(Coverage([ident], at(time), [ident], at(time)))
        marks.applied()
    assert [marks.verdict(ident, at(9)) for ident in "ad"] == [Verdict.READ, Verdict.READ]
    assert marks.verdict("a", at(10)) is Verdict.APPLY
