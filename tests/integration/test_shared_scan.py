"""Lanes that look for keys at the same time (bounded)."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import closing

import pytest
from redis import Redis

from syncd.contract.model.redis.template import KeyTemplate
from syncd.embedded import RedisServer
from syncd.errors import FatalError
from syncd.plan.to_redis.change import Retired
from syncd.stores.redis import shared_scan
from syncd.stores.redis.connect import connections
from syncd.stores.redis.records.position import ControlKeys
from syncd.stores.redis.records.requests.lane_requests import RequestBoard
from syncd.stores.redis.records.requests.pauses import pause
from syncd.stores.redis.scan import SCAN_COUNT, KeyScan
from syncd.stores.redis.store import RedisStore
from tests.support.check import wait_until

LANES, KEYS = 30, 400


@pytest.fixture
def store(server: RedisServer, client: Redis) -> Iterator[RedisStore]:
    """With keys of LANES templates, some of which begin like another."""
    client.flushall()
    with client.pipeline() as pipe:
        for lane in range(LANES):
            for number in range(KEYS):
                pipe.set(f"l{lane}:{number}", "")
        pipe.execute()
    with closing(RedisStore(server.url)) as store:
        yield store


def pages_of(store: RedisStore, lane: int) -> Iterator[list[bytes]]:
    shape = Retired("p", "string", KeyTemplate.parse(f"l{lane}:{{_id}}"))
    return KeyScan(store, ControlKeys(f"c{lane}")).keys(shape)


def all_of(lane: int) -> list[bytes]:
    return sorted(f"l{lane}:{number}".encode() for number in range(KEYS))


def together(store: RedisStore, lanes: range) -> dict[int, list[bytes] | Exception]:
    """What each of them finds, beside one that has begun."""
    first, found = pages_of(store, 0), {}

    def look(lane: int) -> None:
        try:
            found[lane] = sorted(key for page in pages_of(store, lane) for key in page)
        except Exception as error:
            found[lane] = error

    next(first, None)
    threads = [threading.Thread(target=look, args=(lane,), daemon=True) for lane in lanes]
    for thread in threads:
        thread.start()
    until = time.monotonic() + 60
    for thread in threads:
        thread.join(max(0, until - time.monotonic()))
    first.close()  # type: ignore[attr-defined]
    return found


def scans(client: Redis) -> int:
    return int(client.info("commandstats").get("cmdstat_scan", {"calls": 0})["calls"])


def test_lanes_that_look_together(store: RedisStore, client: Redis) -> None:
    """bounded: lanes that look for keys at the same time have Redis go through its keys once, and each finds its own"""
    before = scans(client)
    found = together(store, range(1, LANES))
    assert found == {lane: all_of(lane) for lane in range(1, LANES)}
    assert scans(client) - before < 4 * LANES * KEYS / SCAN_COUNT


def test_many_lanes_with_less_than_a_page(store: RedisStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """bounded: keys that may not wait any longer are handed over, also where no lane has a page of them"""
    monkeypatch.setattr(shared_scan, "MOST_WAITING", KEYS)
    assert KEYS < shared_scan.PAGE
    assert together(store, range(1, LANES)) == {lane: all_of(lane) for lane in range(1, LANES)}


def test_no_thread_for_a_scan(store: RedisStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """errors_help: where a scan cannot begin, or fails by anything, no lane waits for it, and the next one begins"""
    with monkeypatch.context() as patch:
        patch.setattr(threading, "_start_new_thread", _refused)
        first, second = pages_of(store, 0), pages_of(store, 1)
        next(first)
        with pytest.raises(RuntimeError):
            next(second)
        first.close()  # type: ignore[attr-defined]
    with monkeypatch.context() as patch:
        patch.setattr(shared_scan, "_pattern", _refused)
        found = together(store, range(1, 4))
    assert [type(error) for error in found.values()] == [RuntimeError] * 3
    assert together(store, range(1, 3)) == {1: all_of(1), 2: all_of(2)}


def _refused(*_args: object, **_options: object) -> None:
    raise RuntimeError("can't start new thread")


def test_a_lane_that_takes_nothing(store: RedisStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """bounded: a lane that does not take its keys holds up no other, and finds each of its own later, once"""
    monkeypatch.setattr(shared_scan, "MOST_WAITING", KEYS // 2)
    monkeypatch.setattr(shared_scan, "PAGE", 20)
    monkeypatch.setattr(shared_scan, "STUCK_S", 0.2)
    first, stuck = pages_of(store, 0), pages_of(store, 1)
    next(first)
    assert next(stuck) == []  # it has a place from here on, and waits
    found = together(store, range(2, 12))
    assert found == {lane: all_of(lane) for lane in range(2, 12)}
    keys = [key for page in stuck for key in page]
    assert sorted(keys) == all_of(1)
    first.close()  # type: ignore[attr-defined]


def test_an_error_reaches_all(store: RedisStore, server: RedisServer, client: Redis) -> None:
    """errors_help: where Redis refuses to be looked through, each lane that waits for it hears why, and none hangs"""
    first = pages_of(store, 0)
    next(first)
    client.execute_command("ACL", "SETUSER", "default", "-scan")
    try:
        found = together(store, range(1, 6))
    finally:
        client.execute_command("ACL", "SETUSER", "default", "+scan")
    assert len(found) == 5
    assert all(isinstance(error, FatalError) for error in found.values()), found
    assert together(store, range(1, 3)) == {1: all_of(1), 2: all_of(2)}


def test_lanes_that_leave(store: RedisStore) -> None:
    """bounded: a scan for lanes that have ended all ends itself"""
    first, leaving = pages_of(store, 0), [pages_of(store, lane) for lane in (1, 2)]
    next(first)
    for one in leaving:
        next(one)
        one.close()  # type: ignore[attr-defined]
    first.close()  # type: ignore[attr-defined]
    wait_until(lambda: not any(thread.name == "shared-scan" for thread in threading.enumerate()), 5)
    assert sorted(key for page in pages_of(store, 3) for key in page) == all_of(3)


def test_a_new_lane_is_not_asked_of(store: RedisStore, client: Redis) -> None:
    """nothing_silent: a paused lane that begins while Redis does not answer is paused when it does"""
    board = RequestBoard(store)
    assert not board.is_paused(ControlKeys("first"))
    pause(store, "second", "a person")
    client.execute_command("ACL", "SETUSER", "default", "-exists")
    try:
        with pytest.raises(FatalError):
            board.is_paused(ControlKeys("second"))
    finally:
        client.execute_command("ACL", "SETUSER", "default", "+exists")
    assert board.is_paused(ControlKeys("second"))


def test_connections_that_were_needed_at_once(store: RedisStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """bounded: connections that many lanes need at once are kept for the next time, and closed when there was none"""
    monkeypatch.setattr(connections, "SPARE_CONNECTIONS", 4)
    monkeypatch.setattr(connections, "REST_S", 0.3)
    pool = store.client.connection_pool

    def open_at_once() -> set[int]:
        taken = [pool.get_connection() for _ in range(12)]
        for one in taken:
            pool.release(one)
        return {id(one) for one in taken}

    assert open_at_once() == open_at_once()
    time.sleep(0.4)
    for _ in range(20):
        store.client.ping()
    held = [one for one in store.client.client_list() if one["name"] == "syncd"]
    assert len(held) <= 5, held
