"""Streams that lose their order: emptied and set back, or made again (nothing_lost, applied_once, nothing_silent)."""

from __future__ import annotations

import pytest

from syncd.to_mongo.append.stream_history import MOST_CHECKS, History, StreamState, proof_of
from tests.faults.conftest import Rig
from tests.support.check import wait_until
from tests.support.scene import Flow
from tests.support.ways.stream import (
    add_series,
    add_stream,
    append,
    append_timed,
    key,
    wait_done,
    wait_numbers,
)

AGAIN = "consumer group was gone, made again"


def live(rig: Rig, short: str, *, series: bool = False) -> Flow:
    flow = (add_series if series else add_stream)(rig.scene, short)
    rig.scene.start()
    flow.wait_live()
    return flow


def add_by_id(flow: Flow, ids: dict[str, int], **more: str) -> None:
    pipe = flow.redis.pipeline(transaction=True)
    for entry, number in ids.items():
        pipe.xadd(key(flow), {"n": number, **more}, id=entry)
    pipe.execute()


def wait_remembered(flow: Flow) -> None:
    """Until the daemon has kept what proves this stream."""
    last = flow.redis.xinfo_stream(key(flow))["last-generated-id"]
    wait_until(lambda: flow.position().get("proof", b"").startswith(last), 20, flow.position)


def set_back(flow: Flow, to: str = "0-1") -> None:
    pipe = flow.redis.pipeline(transaction=True)
    pipe.xtrim(key(flow), maxlen=0)
    pipe.execute_command("XSETID", key(flow), to)
    pipe.execute()


@pytest.mark.at_scale("running-time series", "down-collection")
@pytest.mark.parametrize("series", [False, True], ids=["collection", "time series"])
@pytest.mark.parametrize("down", [False, True], ids=["running", "down"])
def test_a_stream_that_is_set_back(rig: Rig, series: bool, down: bool) -> None:
    """nothing_lost, nothing_silent: a stream is trimmed and its last id set to 0-1; entries with small ids become
    documents all the same, and a line tells it"""
    flow = live(rig, "setid", series=series)
    (append_timed if series else append)(flow, range(10))
    wait_numbers(flow, range(10))
    wait_remembered(flow)
    if down:
        rig.scene.daemon.kill()
    set_back(flow)
    add_by_id(flow, {f"1-{n}": n for n in range(10, 60)}, at="1767323045000")
    if down:
        rig.scene.start()
    wait_numbers(flow, range(60))
    wait_done(flow)
    assert rig.scene.daemon.logs(event=AGAIN, start="0-0")
    (append_timed if series else append)(flow, range(60, 70))
    wait_numbers(flow, range(70))
    wait_until(rig.scene.daemon.is_ready, 20, flow.lane)


def test_ids_on_both_sides_of_the_old_position(rig: Rig) -> None:
    """nothing_lost: a stream is set back and gets small and great ids before a daemon has read it; none is passed
    over"""
    flow = live(rig, "both")
    append(flow, range(10))
    wait_numbers(flow, range(10))
    wait_remembered(flow)
    set_back(flow)
    add_by_id(
        flow, {**{f"1-{n}": n for n in range(10, 60)}, **{f"99999999999999-{n}": n for n in range(60, 70)}}
    )
    wait_numbers(flow, range(70))


def test_small_ids_from_the_beginning(rig: Rig) -> None:
    """nothing_lost: ids that the application chooses begin as they did before; what Redis counts as unread shows it"""
    flow = live(rig, "own")
    add_by_id(flow, {f"5-{n}": n for n in range(1, 11)})
    wait_numbers(flow, range(1, 11))
    wait_remembered(flow)
    set_back(flow)
    add_by_id(
        flow, {"5-1": 1, **{f"5-{n}": n + 10 for n in range(20, 30)}, **{f"6-{n}": n + 40 for n in range(10)}}
    )
    wait_numbers(flow, [*range(1, 11), *range(30, 50)])


@pytest.mark.parametrize("series", [False, True], ids=["collection", "time series"])
def test_a_stream_made_again_whose_ids_straddle(rig: Rig, series: bool) -> None:
    """nothing_lost: a stream is deleted, and one whose ids lie on both sides of the old position takes its place; it is
    read from its first entry"""
    flow = live(rig, "straddle", series=series)
    (append_timed if series else append)(flow, range(10))
    wait_numbers(flow, range(10))
    wait_remembered(flow)
    rig.scene.daemon.kill()
    flow.redis.delete(key(flow))
    great = {f"99999999999999-{n}": n for n in range(60, 70)}
    add_by_id(flow, {**{f"1-{n}": n for n in range(10, 60)}, **great}, at="1767323045000")
    rig.scene.start()
    wait_numbers(flow, range(70))
    assert rig.scene.daemon.logs(event=AGAIN, start="0-0")


def test_a_group_that_is_destroyed_behind_a_trimmed_stream(rig: Rig) -> None:
    """nothing_lost, applied_once: where no entry is left that proves the stream, all that is there is read again, and
    each entry is one document"""
    flow = live(rig, "trimmed")
    append(flow, range(10))
    wait_numbers(flow, range(10))
    wait_remembered(flow)
    rig.scene.daemon.kill()
    flow.redis.xtrim(key(flow), maxlen=0)
    append(flow, range(10, 20))
    flow.redis.xgroup_destroy(key(flow), flow.contract)
    rig.scene.start()
    wait_numbers(flow, range(20))


def state(last: str, first: str, delivered: str, lag: int = 0) -> StreamState:
    return StreamState(last, first, delivered, lag, is_read=last <= delivered)


def test_what_a_history_takes_for_a_step_back() -> None:
    """Growth, trimming and a moment's wrong count are none; a last id below the position, and a first entry below an
    earlier one are."""
    history = History()
    history.load({"first": "5-0"})
    assert not history.went_back(state("9-0", "5-0", "9-0"))
    assert not history.went_back(state("9-0", "7-0", "9-0", 3))
    assert not history.went_back(state("9-0", "", "9-0", 3))
    assert history.went_back(state("8-0", "", "9-0"))
    history.load({"first": "7-0"})
    assert history.went_back(state("9-5", "6-0", "9-5"))
    history.load({"first": "1-0"})
    found = [history.went_back(state("9-0", "1-0", "9-0", 50)) for _ in range(MOST_CHECKS)]
    assert found == [False] * (MOST_CHECKS - 1) + [True]
    history.proof = proof_of("9-0", {b"a": b"1"})
    assert history.proves("9-0", {b"a": b"1"}) and not history.proves("9-0", {b"a": b"2"})
