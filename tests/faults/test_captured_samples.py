"""Samples of time series that become documents, while everything on the way breaks (nothing_lost, applied_once, fenced,
never_backwards, nothing_silent, bounded). Skipped where the module RedisTimeSeries cannot be loaded."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from syncd.embedded import RedisServer
from tests.faults.conftest import Rig, killed_at
from tests.support.broken.failpoint import failing
from tests.support.broken.hold import Hold
from tests.support.check import wait_until
from tests.support.programs.needed import NotFound, give_up
from tests.support.servers.timeseries import series_server
from tests.support.shapes.series import START_MS, add, add_to, live_series, samples, wait_samples
from tests.support.ways.keyspace import compared, wait_compared
from tests.support.ways.outbox import documents

NEW = 80
"""What MongoDB gets of them is one read of the proxy, which can tell then that a killed client is gone."""


@pytest.fixture(scope="module")
def redis_server(no_child_survives: None) -> Iterator[RedisServer]:
    """An acknowledged write outlives its kill."""
    try:
        with series_server(appendonly=True) as server:
            yield server
    except NotFound as error:
        give_up(error)


def test_kills_while_samples_come(rig: Rig) -> None:
    """nothing_lost, applied_once: samples come in order and late and get other values, while the daemon is killed
    before MongoDB gets them, before Redis is asked what is new, before it learns what was written, and before its
    reply; each time every sample has one document, also those that changed far behind while no daemon listened."""
    flow = live_series(rig.scene, "kills")
    add(flow, "a", range(3000))
    add(flow, "b", range(200))
    wait_samples(flow)
    points = [
        lambda: rig.mongo_proxy.hold_request(flow.command("insert")),
        lambda: rig.mongo_proxy.hold_reply(flow.command("update")),
        lambda: rig.redis_proxy.hold_request(b"syncd_new_samples"),
        lambda: rig.redis_proxy.hold_request(b"syncd_synced"),
        lambda: rig.redis_proxy.hold_reply(b"syncd_synced"),
    ]
    for turn, hold_at in enumerate(points):
        hold, first = hold_at(), 5000 * (turn + 1)
        add(flow, "a", range(first, first + NEW))
        add(flow, "a", [first - 1, first + 3, first + NEW - 3], 90)
        add(flow, "b", [-5 - turn, 100 + turn, 199], 80 + turn)
        add(flow, f"c{turn}", range(NEW // 2))
        with killed_at(rig, hold):
            add(flow, "a", [turn, 2000 + turn], 70)
            add(flow, "b", [-50 - turn, 500 + turn])
            flow.redis.rename(flow.key(f"c{turn}"), flow.key(f"d{turn}"))
        kept = {name: said for name, said in documents(flow).items() if ":c" in name}
        wait_samples(flow, beside=kept)
    assert flow.dead_letters() == []


def test_late_samples_and_lost_events(rig: Rig) -> None:
    """nothing_lost, bounded: samples that come behind others, one behind thousands, arrive without a comparison of all,
    also while new ones come or MongoDB takes no writes; another value far behind arrives with the comparison after
    events were lost."""
    flow = live_series(rig.scene, "late")
    add(flow, "a", range(0, 8000, 2))
    add(flow, "b", range(500))
    wait_samples(flow)
    add(flow, "a", [8000, 7991, 5001, 1], 50)
    add(flow, "b", [499, 480], 60)
    wait_samples(flow)
    hold = rig.redis_proxy.hold_request(b"TS.REVRANGE")
    add(flow, "a", range(2001, 2031, 2), 50)
    hold.wait()
    add(flow, "a", range(8100, 8900), 50)
    hold.release()
    wait_samples(flow)
    with failing(flow.collection, "update insert", 10107):
        add(flow, "a", [9000, 6001, -9], 50)
        flow.wait_state("waiting", 40)
        add(flow, "a", [3001], 50)
    wait_samples(flow)
    assert flow.metric("syncd_keyspace_catchups_total") == compared(flow, "start") == 1
    pipe = flow.redis.pipeline(transaction=True)
    pipe.execute_command("CLIENT", "KILL", "TYPE", "pubsub")
    pipe.execute_command("TS.ADD", flow.key("a"), START_MS, -40, "ON_DUPLICATE", "LAST")
    pipe.execute_command("TS.ADD", flow.key("b"), START_MS + 1000, -40, "ON_DUPLICATE", "LAST")
    pipe.execute()
    wait_samples(flow)
    wait_compared(flow, "subscription")


def test_a_run_that_ends_in_between(rig: Rig) -> None:
    """nothing_lost: the daemon loses its connection when MongoDB has another value of a sample and Redis does not know
    it, and in the middle of the search for a late one; no event is lost, so nothing is compared. A value that is again
    what it was is written again, and the late sample is found."""
    flow = live_series(rig.scene, "between")
    add(flow, "a", range(3000))
    wait_samples(flow)

    def lose(hold: Hold) -> None:
        hold.wait()
        flow.redis.execute_command("CLIENT", "KILL", "TYPE", "normal")
        hold.release()

    hold = rig.redis_proxy.hold_request(b"syncd_synced")
    add(flow, "a", [2998], 70)
    hold.wait()
    assert documents(flow)[f"{flow.key('a')}:{START_MS + 2_998_000}"]["celsius"] > 70
    add(flow, "a", [2998])
    lose(hold)
    wait_samples(flow)
    hold = rig.redis_proxy.hold_request(b"TS.REVRANGE")
    add(flow, "a", [10.5], 70)
    lose(hold)
    wait_samples(flow)
    assert flow.metric("syncd_keyspace_catchups_total") == 1


@pytest.mark.parametrize("by", ["rename", "copy", "restore", "again"])
def test_another_series_with_the_same_end(rig: Rig, by: str) -> None:
    """nothing_lost: another series takes the name of one that is known, with no more samples than that had, and with
    the same last ones: those before are other ones, and are found, though no count says so."""
    flow = live_series(rig.scene, f"end-{by}")
    add(flow, "a", range(300))
    wait_samples(flow)
    before, key = documents(flow), flow.key("a")
    numbers = [*(number + 0.5 for number in range(0, 150, 2)), 100, *range(240, 300)]
    pipe = flow.redis.pipeline(transaction=True)
    pipe.delete("beside", *[key] * (by == "again"))
    add_to(pipe, key if by == "again" else "beside", numbers)
    if by == "rename":
        pipe.rename("beside", key)
    elif by == "copy":
        pipe.execute_command("COPY", "beside", key, "REPLACE")
    pipe.execute()
    if by == "restore":
        flow.redis.restore(key, 0, flow.redis.dump("beside"), replace=True)
    wait_samples(flow, beside=before)
    assert flow.metric("syncd_keyspace_catchups_total") == 1


def test_late_samples_that_one_search_finds(rig: Rig) -> None:
    """bounded: a late sample comes while another one is searched for, and the search finds both; no second one goes
    through all the series."""
    flow = live_series(rig.scene, "found")
    add(flow, "a", range(12_000))
    wait_samples(flow)
    before = flow.redis.info("commandstats")["cmdstat_ts.revrange"]["calls"]
    hold = rig.redis_proxy.hold_request(b"TS.REVRANGE")
    add(flow, "a", [11_000.5])
    hold.wait()
    add(flow, "a", [11_000.25])
    hold.release()
    wait_samples(flow)
    for number in (12_000, 12_001):
        add(flow, "a", [number])
        wait_samples(flow)
    read = flow.redis.info("commandstats")["cmdstat_ts.revrange"]["calls"] - before
    assert read < 12, "a page of the series each, and a few of its last samples"


def test_late_samples_while_all_are_compared(rig: Rig) -> None:
    """nothing_lost: a sample comes behind the page of its series that a comparison reads next, where the comparison has
    been; it arrives, with no event of that series after it."""
    flow = live_series(rig.scene, "compared")
    add(flow, "a", range(3000))
    wait_samples(flow)
    hold = rig.redis_proxy.hold_request(b"TS.REVRANGE")
    flow.redis.execute_command("CLIENT", "KILL", "TYPE", "pubsub")
    hold.wait()
    hold.release()
    hold = rig.redis_proxy.hold_request(b"TS.REVRANGE")
    hold.wait()
    add(flow, "a", [2500.5])
    hold.release()
    wait_samples(flow)


def test_what_redis_drops_stays(rig: Rig) -> None:
    """nothing_lost: samples that were deleted, are older than the retention, or went with their series, a series that
    expired, a Redis that is killed or comes back empty: documents stay. A series of a name that was there before is
    read from its first sample, also where its end is no news, or has a sample that was there."""
    flow = live_series(rig.scene, "drops")
    add(flow, "d", range(300))
    add(flow, "a", range(300))
    add(flow, "b", range(50), retention=60_000)
    add(flow, "c", range(300))
    wait_until(lambda: len(documents(flow)) == 950, 60, flow.lane)
    before = documents(flow)
    pipe = flow.redis.pipeline(transaction=True)
    pipe.delete(flow.key("d"))
    for moment in (*range(500, 250_000, 1000), 299_000):
        value = 20 + 299 / 8
        pipe.execute_command("TS.ADD", flow.key("d"), START_MS + moment, value, "LABELS", "site", "roof")
    pipe.execute()
    flow.redis.execute_command("TS.DEL", flow.key("a"), START_MS, START_MS + 99_000)
    flow.redis.execute_command("TS.DEL", flow.key("a"), START_MS + 290_000, START_MS + 400_000)
    add(flow, "b", range(1000, 1010), retention=60_000)
    pipe = flow.redis.pipeline(transaction=True)
    pipe.delete(flow.key("c"))
    for number in range(80):
        pipe.execute_command(
            "TS.ADD", flow.key("c"), START_MS + 500 + 1000 * number, 1, "LABELS", "site", "roof"
        )
    pipe.execute()
    wait_samples(flow, beside=before)
    before = documents(flow)
    flow.redis.pexpire(flow.key("c"), 1)
    rig.redis.kill()
    rig.redis.start()
    flow.wait_live()
    add(flow, "c", range(200, 204), 70)
    wait_samples(flow, beside=before)
    before = documents(flow)
    flow.redis.flushall()
    add(flow, "a", range(20), 30)
    wait_samples(flow, beside=before, timeout=90)
    flow.wait_live()


def test_a_daemon_that_slept(rig: Rig) -> None:
    """fenced, never_backwards: a daemon is frozen while its write is on the way, for longer than its lease; it arrives
    behind those of the next daemon, and changes nothing."""
    ttl = {"SYNCD_LEASE_TTL": "2"}
    rig.scene.daemon = rig.scene.another_daemon(**ttl)
    flow = live_series(rig.scene, "slept")
    add(flow, "a", range(10))
    wait_samples(flow)
    second = rig.scene.another_daemon(**ttl)
    second.start()
    wait_until(lambda: second.lane_state() == "standby", 20, second.process.log_tail)
    hold = rig.mongo_proxy.hold_request(flow.command("update"))
    add(flow, "a", [8, 9, 10], 40)
    hold.wait()
    rig.scene.daemon.pause()
    wait_until(lambda: second.lane_state() == "live", 20, second.process.log_tail)
    add(flow, "a", [9], 60)
    wait_samples(flow)
    hold.release()
    rig.scene.daemon.resume()
    wait_until(lambda: rig.scene.daemon.lane_state() == "standby", 20, rig.scene.daemon.process.log_tail)
    assert documents(flow) == samples(flow)
    second.kill()
    add(flow, "a", [11], 60)
    wait_samples(flow)


def test_what_is_no_sample(rig: Rig) -> None:
    """nothing_silent: a key of another type, moments beyond what a date holds, and labels that are no text are dead
    letters; other series and samples go on, also those with such a label that the contract does not name, and what was
    fixed arrives."""
    flow = live_series(rig.scene, "odd")
    add(flow, "a", range(3))
    flow.redis.set(flow.key("text"), "no series")
    add(flow, "nano", range(3))
    flow.redis.execute_command("TS.ADD", flow.key("nano"), 1_767_225_600_000_000_000, 1)
    flow.redis.execute_command("TS.CREATE", flow.key("bytes"), "LABELS", "site", b"\xff")
    add(flow, "bytes", [1])
    flow.redis.execute_command("TS.CREATE", flow.key("other"), "LABELS", "site", "hall", b"\xfe", b"\xff")
    add(flow, "other", [1])
    wait_until(lambda: len(flow.dead_letters()) == 3, 40, flow.lane)
    odd = {one["key"].removeprefix(flow.key("")): one["reason"] for one in flow.dead_letters()}
    assert odd == {"text": "wrong_type", "nano": "cannot_convert", f"bytes:{START_MS + 1000}": "not_unicode"}
    wait_until(lambda: len(documents(flow)) == 7, 40, flow.lane)
    flow.redis.delete(flow.key("text"), flow.key("nano"))
    flow.redis.execute_command("TS.ALTER", flow.key("bytes"), "LABELS", "site", "hall")
    add(flow, "text", [1, 2])
    add(flow, "bytes", [1], 5)
    kept = {name: said for name, said in documents(flow).items() if ":nano:" in name}
    wait_samples(flow, beside=kept)
    wait_until(lambda: flow.dead_letters() == [], 40, flow.dead_letters)
