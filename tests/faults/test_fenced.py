"""fenced: a daemon that lost its lease writes nothing more."""

from __future__ import annotations

import shlex
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from redis.exceptions import RedisError

from tests.faults.conftest import Rig
from tests.support.check import PATIENCE_S, SOON_S, wait_until
from tests.support.contracts import projection
from tests.support.daemon import Daemon
from tests.support.scene import Flow
from tests.support.servers.shared import connect

LEASE_S = 2
READS = {"GET", "HGET", "TYPE", "PTTL", "EXISTS"}


def film(number: int, n: int = 0) -> dict[str, Any]:
    return {"_id": number, "title": f"film {number}", "n": n}


def run_two(rig: Rig, count: int = 500, **env: str) -> tuple[Flow, Daemon, Daemon]:
    """A contract with a daemon that serves it, and one that stands by."""
    flow = rig.scene.add("film", projection(["title", "n"]), documents=[film(n) for n in range(count)])
    first, second = rig.scene.another_daemon(**env), rig.scene.another_daemon(**env)
    first.start()
    wait_until(lambda: first.lane_state() == "live", 20, first.process.log_tail)
    second.start()
    wait_until(lambda: second.lane_state() == "standby", 20, second.process.log_tail)
    return flow, first, second


def test_a_standby_takes_over(rig: Rig) -> None:
    """Of two daemons one works and both are ready. After a kill -9, and after a stop, the other does not wait for the
    lease to run out, and goes on without a snapshot."""
    flow, first, second = run_two(rig, SYNCD_LEASE_TTL=str(2 * SOON_S))
    first.wait_ready()
    second.wait_ready()
    assert (first.metric("syncd_lease_held"), second.metric("syncd_lease_held")) == (1, 0)
    holder = flow.redis.get(flow.names.control("lease"))
    flow.collection.update_many({}, {"$set": {"n": 1}})
    flow.wait_same()
    assert second.metric("syncd_writes_total") == 0
    first.kill()
    began = time.monotonic()
    flow.collection.update_many({}, {"$set": {"n": 2}})
    flow.wait_same()
    wait_until(lambda: second.lane_state() == "live")
    assert time.monotonic() - began < 2 * SOON_S, "it knew that the holder was dead"
    assert flow.redis.get(flow.names.control("lease")) != holder
    assert not second.logs(event="snapshot started")
    first.start()
    wait_until(lambda: first.lane_state() == "standby")
    # Asked to stop, a daemon gives its lease back: the other need not wait until it runs out.
    assert second.terminate() == 0
    began = time.monotonic()
    wait_until(lambda: first.lane_state() in ("catching_up", "live"), 10)
    assert time.monotonic() - began < SOON_S
    flow.collection.insert_one(film(1000))
    flow.wait_same()


@contextmanager
def monitored(url: str) -> Iterator[list[list[str]]]:
    """Every command that Redis gets, and every one that its functions call, as words; the first is who asked."""
    lines: list[list[str]] = []
    client = connect(url)
    with client.monitor() as monitor:

        def listen() -> None:
            try:
                for command in monitor.listen():
                    words = shlex.split(
                        command["command"].encode("ascii", "replace").decode().replace("'", "")
                    )
                    lines.append([command["client_type"], *(*words, "")[:2], " ".join(words[2:])])
            except (RedisError, OSError, ValueError):
                pass  # closed

        thread = threading.Thread(target=listen, daemon=True)
        thread.start()
        yield lines
        client.connection_pool.disconnect()
    thread.join(PATIENCE_S)


def test_a_daemon_that_slept_writes_nothing(rig: Rig) -> None:
    """A daemon frozen in the middle of its work and revived after another took over changes nothing any more."""
    flow, first, second = run_two(rig, 2000, SYNCD_LEASE_TTL=str(LEASE_S), SYNCD_BATCH_WRITES="20")
    old = flow.redis.get(flow.names.control("lease")).decode()
    rig.redis_proxy.delay(0.05)
    flow.collection.update_many({}, {"$set": {"n": 1}})
    wait_until(lambda: flow.redis.hget(flow.key(200), "n") == b"1")
    first.pause()
    rig.redis_proxy.restore()
    assert flow.differences(), "it was paused too late, with nothing left to do"
    assert not first.logs(event="lease lost")
    wait_until(lambda: second.lane_state() == "live", 20, second.process.log_tail)
    flow.wait_same()
    flow.collection.update_many({}, {"$set": {"n": 2}})
    flow.wait_same()
    with monitored(rig.redis.url) as lines:
        first.resume()
        wait_until(lambda: first.lane_state() == "standby", 20, first.process.log_tail)
    assert first.logs(event="lease lost"), "it woke up, and saw that its lease is over"
    assert {command for called in calls_of(lines, old) for command in called} <= READS
    flow.assert_same()
    assert first.metric("syncd_lease_held") == 0
    first.wait_ready()
    second.kill()
    flow.collection.update_many({}, {"$set": {"n": 3}})
    flow.wait_same()


def calls_of(lines: list[list[str]], lease: str) -> list[list[str]]:
    """What the functions called that came with this lease, call by call."""
    calls: list[list[str]] = []
    ours = False
    for kind, command, name, rest in lines:
        if kind == "lua":
            if ours:
                calls[-1].append(command)
        else:
            ours = command == "FCALL" and name == "syncd_apply" and lease in rest
            if ours:
                calls.append([])
    return calls


def test_a_daemon_that_was_cut_off_writes_nothing(rig: Rig) -> None:
    """What a daemon sent into a dead link arrives after another took over: it changes nothing."""
    flow = rig.scene.add("film", projection(["title", "n"]), documents=[film(n) for n in range(200)])
    first = rig.scene.another_daemon(SYNCD_LEASE_TTL=str(LEASE_S))
    first.start()
    wait_until(lambda: first.lane_state() == "live", 20, first.process.log_tail)
    second = rig.scene.another_daemon(SYNCD_LEASE_TTL=str(LEASE_S), SYNCD_REDIS_URL=rig.redis.url)
    second.start()
    wait_until(lambda: second.lane_state() == "standby", 20, second.process.log_tail)
    rig.redis_proxy.blackhole()
    flow.collection.update_many({}, {"$set": {"n": 1}})
    wait_until(lambda: second.lane_state() == "live", 20, second.process.log_tail)
    flow.wait_same()
    flow.collection.update_many({}, {"$set": {"n": 2}})
    flow.wait_same()
    rig.redis_proxy.restore()
    wait_until(lambda: first.lane_state() in ("standby", "waiting"), 20, first.process.log_tail)
    flow.assert_same()
    wait_until(lambda: first.lane_state() == "standby", 20, first.process.log_tail)
    wait_until(lambda: second.lane_state() == "live", message=second.process.log_tail)
    flow.assert_same()


@pytest.mark.parametrize("late", ["request", "reply"])
def test_a_daemon_that_slept_over_one_call(rig: Rig, late: str) -> None:
    """A daemon frozen while its call, or the reply to it, is on the way, for longer than its lease: when it wakes up, a
    call that comes late is refused, and nothing more is written by it."""
    flow, first, second = run_two(rig, 50, SYNCD_LEASE_TTL=str(LEASE_S))
    old = flow.redis.get(flow.names.control("lease"))
    hold = rig.redis_proxy.hold_request if late == "request" else rig.redis_proxy.hold_reply
    held = hold(b"syncd_apply", old, flow.key(49).encode() + b"\r\n")
    flow.collection.update_many({}, {"$set": {"n": 1}})
    held.wait()
    first.pause()
    wait_until(lambda: second.lane_state() == "live", 20, second.process.log_tail)
    flow.wait_same()
    flow.collection.update_many({}, {"$set": {"n": 2}})
    flow.collection.delete_one({"_id": 49})
    flow.wait_same()
    with monitored(rig.redis.url) as lines:
        held.release()
        if late == "request":  # a daemon that wakes up before it has arrived takes it along
            wait_until(lambda: calls_of(lines, old.decode()), 20)
        first.resume()
        wait_until(lambda: first.lane_state() == "standby", 20, first.process.log_tail)
    calls = calls_of(lines, old.decode())
    assert calls or late == "reply"
    assert {command for called in calls for command in called} <= READS
    flow.assert_same()
    second.kill()
    flow.collection.update_many({}, {"$set": {"n": 3}})
    flow.wait_same()
