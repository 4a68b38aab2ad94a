"""Daemons with other contract files: rolling updates, canaries, daemons that wake up late (nothing_lost, no_ghosts,
fenced, no_echo, nothing_silent).
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path

import pytest

from syncd.embedded import RedisServer, ReplicaSet
from tests.support.broken.proxy import Proxy
from tests.support.check import meanwhile, wait_until
from tests.support.scale import SCALE
from tests.support.ways.handover import (
    BOTH_KEYSPACE,
    KEYSPACE,
    LEASE_S,
    OUTBOX,
    Contracts,
    Node,
    World,
    contract,
    shape,
    world,
)

pytestmark = pytest.mark.at_scale(all_but_one_of=10)
"""Of the many ways in which templates change hands a tenth of each test's, always the same."""
COUNT = 100
FILM, SESS = shape("film:{_id}"), shape("sess:{_id}", name="sess")
TOGETHER = {"films": contract("films", FILM, SESS)}

SETS: dict[str, tuple[Contracts, Contracts]] = {
    "a file of its own": (TOGETHER, {"films": contract("films", FILM), "sessions": contract("films", SESS)}),
    "an application's": (
        TOGETHER,
        {"films": contract("films", FILM), "sessions": contract("films", SESS, sync=KEYSPACE)},
    ),
    "an application's, outbox": (
        TOGETHER,
        {"films": contract("films", FILM), "sessions": contract("films", SESS, sync=OUTBOX)},
    ),
    "both ways": (
        TOGETHER,
        {"films": contract("films", FILM), "sessions": contract("films", SESS, sync=BOTH_KEYSPACE)},
    ),
    "swapped": (
        {"a": contract("films", shape("x:{_id}")), "b": contract("films", shape("y:{_id}"))},
        {"a": contract("films", shape("y:{_id}")), "b": contract("films", shape("x:{_id}"))},
    ),
    "another name": (TOGETHER, {"movies": TOGETHER["films"]}),
    "another direction": (
        {"films": contract("films", FILM)},
        {"films": contract("films", FILM, sync=KEYSPACE)},
    ),
}
"""What the older daemon has, and what the newer one has. Under both, the same keys belong to the same documents."""

Nodes = Callable[..., Node]


@pytest.fixture
def both(replica_set: ReplicaSet, redis_server: RedisServer) -> Iterator[World]:
    with world(replica_set.uri, redis_server.url) as found:
        found.fill("films", range(COUNT))
        yield found


@pytest.fixture
def another(
    both: World, replica_set: ReplicaSet, redis_server: RedisServer, tmp_path: Path
) -> Iterator[Nodes]:
    """Makes a daemon with a directory of its own, not started."""
    numbers, made = count(1), []

    def make(redis_url: str = "", **env: str) -> Node:
        folder = tmp_path / f"contracts{next(numbers)}"
        made.append(Node(folder, replica_set.uri, redis_url or redis_server.url, **env))
        return made[-1]

    yield make
    for node in made:
        node.daemon.close()


def change(both: World, contracts: Contracts, n: int) -> None:
    """On the side, or sides, that may write."""
    for name, said in contracts.items():
        direction = said.get("sync", {}).get("direction", "mongo_to_redis")
        if direction == "redis_to_mongo":
            both.put(name, said, range(10, 20), n)
        elif direction == "both":
            both.put(name, said, range(20, 30), n)
    if all(said.get("sync", {}).get("direction") != "redis_to_mongo" for said in contracts.values()):
        both.set("films", range(30, 40), n=n, text=f"changed {n}")


@pytest.mark.parametrize("end", ["stopped", "killed", "paused"])
@pytest.mark.parametrize("sets", SETS)
def test_a_rolling_update(both: World, another: Nodes, sets: str, end: str) -> None:
    """nothing_lost, fenced, no_echo: a daemon with the newer files starts beside the older one, which is then stopped,
    killed, or paused for longer than its lease and wakes up: no key and no document goes, and the newer one serves."""
    before, after = SETS[sets]
    old, new = another(), another()
    old.start(before)
    old.wait_serves()
    both.wait_rest(before)
    new.start(after)
    new.daemon.wait_ready()
    new.wait_asks(both.redis, 3)
    assert not both.differences(before)
    if end == "stopped":
        old.daemon.terminate()
    elif end == "killed":
        old.daemon.kill()
    else:
        old.daemon.pause()
    new.wait_serves()
    both.wait_rest(after)
    if end == "paused":
        old.daemon.resume()
        old.wait_asks(both.redis)
        old.daemon.terminate()
        new.wait_serves()
    change(both, after, 3)
    both.wait_rest(after)


@pytest.mark.parametrize("sets", SETS)
def test_daemons_whose_files_change_one_after_the_other(both: World, another: Nodes, sets: str) -> None:
    """nothing_lost, no_echo: two daemons serve one set; the files of one change, and seconds later those of the other;
    then both go back. All the time every key and document is there."""
    before, after = SETS[sets]
    nodes = [another(), another()]
    for node in nodes:
        node.start(before)
    wait_served(both, nodes, before)
    for turn, now in enumerate((after, before, after), 1):
        for node in nodes:
            node.edit(now)
            time.sleep(LEASE_S * 0.7)
        wait_served(both, nodes, now)
        change(both, now, turn)
        both.wait_rest(now)


def wait_served(both: World, nodes: list[Node], contracts: Contracts) -> None:
    """Until each contract is live at one of them, and all is as it should be."""
    wait_until(
        lambda: all(any(node.states(name) == {"live"} for node in nodes) for name in contracts),
        40,
        lambda: "; ".join(node.told() for node in nodes),
    )
    both.wait_rest(contracts)


@pytest.mark.parametrize("sets", ["a file of its own", "an application's", "swapped", "another direction"])
def test_the_newer_one_dies(both: World, another: Nodes, sets: str) -> None:
    """nothing_lost, fenced: the daemon with the newer files serves, and is killed; the older one stands by, and after a
    while it takes over what it knows; no document goes. The newer one comes back, and then the older one ends."""
    before, after = SETS[sets]
    old, new = another(), another()
    old.start(before)
    old.wait_serves()
    new.start(after)
    new.daemon.wait_ready()
    old.daemon.pause()
    new.wait_serves()
    old.daemon.resume()
    change(both, after, 1)
    both.wait_rest(after)
    assert new.serves(), new.told()
    new.daemon.kill()
    both.wait_rest(after)
    old.wait_serves(60)
    change(both, before, 2)
    both.wait_rest(before)
    new.start(after)
    time.sleep(LEASE_S)
    old.daemon.terminate()
    new.wait_serves()
    change(both, after, 3)
    both.wait_rest(after)


@pytest.mark.parametrize("sets", ["a file of its own", "an application's"])
def test_an_older_one_is_started_again(both: World, another: Nodes, sets: str) -> None:
    """nothing_lost, fenced: while the newer set is served, a daemon with the older files is started, and stopped again;
    the newer one serves all the time."""
    before, after = SETS[sets]
    old, new = another(), another()
    old.start(before)
    old.wait_serves()
    old.daemon.terminate()
    new.start(after)
    new.wait_serves()
    for turn in range(2):
        old.start()
        old.wait_asks(both.redis, 3)
        change(both, after, turn + 1)
        both.wait_rest(after)
        assert new.serves(), new.told()
        old.daemon.terminate() if turn else old.daemon.kill()
    both.wait_rest(after)


@pytest.mark.parametrize("sets", SETS)
def test_daemons_with_other_files_do_not_fight(both: World, another: Nodes, sets: str) -> None:
    """fenced, no_echo: an older and a newer set run side by side for many lease times under writes: one of them serves,
    and goes on serving; nothing is copied again and again, and every change shows."""
    before, after = SETS[sets]
    old, new = another(), another()
    old.start(before)
    old.wait_serves()
    new.start(after)
    new.daemon.wait_ready()
    numbers = count(1)

    def write() -> None:
        change(both, before, next(numbers))

    with meanwhile(write, 0.1):
        end = time.monotonic() + 4 * LEASE_S
        while time.monotonic() < end:
            new.wait_asks(both.redis)
    assert old.serves(), old.told()
    both.wait_rest(before)
    for node in (old, new):
        copies = node.daemon.logs(event="snapshot started")
        by_name = {name: sum(line["contract"] == name for line in copies) for name in {**before, **after}}
        assert max(by_name.values()) <= 2, by_name
        assert not node.daemon.logs(event="lease lost")


def test_what_a_standby_says(both: World, another: Nodes) -> None:
    """nothing_silent: a contract whose template is held by another one of a daemon with older files stands by, says
    which template that is and who holds it, and takes over at once when it is let go."""
    before, after = SETS["a file of its own"]
    old, new = another(), another()
    old.start(before)
    old.wait_serves()
    new.start(after)
    lane = new.wait_state("sessions", "standby")
    said = json.dumps(lane)
    assert "sess:{_id}" in said, said
    assert "contract films" in said, said
    old.edit({"films": contract("films", FILM)})
    began = time.monotonic()
    new.wait_state("sessions", "live")
    assert time.monotonic() - began < LEASE_S + 4
    both.wait_rest(after)


def test_a_call_that_removes_keys_comes_late(both: World, another: Nodes, redis_server: RedisServer) -> None:
    """fenced: a daemon is paused when its call that removes the keys of a projection is on its way; meanwhile another
    daemon's contract takes the template. When the call arrives it removes nothing."""
    after = SETS["a file of its own"][1]
    with Proxy(redis_server.port) as proxy:
        old, new = another(proxy.redis_url), another()
        old.start(TOGETHER)
        old.wait_serves()
        hold = proxy.hold_request(b"syncd_apply", b"sess:5")
        old.edit({"films": contract("films", FILM)})
        hold.wait()
        old.daemon.pause()
        new.start(after)
        new.wait_serves()
        hold.release()
        both.wait_rest(after)
        old.daemon.resume()
        both.wait_rest(after)
        old.daemon.kill()
        change(both, after, 5)
        both.wait_rest(after)


@pytest.mark.parametrize("taker", ["a file of its own", "an application's", "both ways"])
def test_the_giver_is_the_faster_one(
    both: World, another: Nodes, redis_server: RedisServer, taker: str
) -> None:
    """nothing_lost, no_echo: the call by which the taker asks for a template is on its way for seconds, while the giver
    lets it go, copies, and searches for keys that no contract has: none goes."""
    before, after = SETS[taker]
    with Proxy(redis_server.port) as proxy:
        node = another(proxy.redis_url)
        node.start(before)
        node.wait_serves()
        hold = proxy.hold_request(b"syncd_lease", b"{sessions}")
        node.files.write(after)
        hold.wait()
        time.sleep(LEASE_S)
        gone = both.differences(before)
        hold.release()
        node.wait_serves()
        both.wait_rest(after)
        assert not gone


@pytest.mark.parametrize("taker", ["a file of its own", "an application's", "both ways"])
def test_every_call_of_a_handover_is_the_last(
    both: World, another: Nodes, redis_server: RedisServer, taker: str
) -> None:
    """nothing_lost, fenced, no_echo: kill -9 at the first, second, third, ... call of a handover that Redis gets, and a
    start with the new files each time, until one goes through. Every key and document is there."""
    before, after = SETS[taker]
    for nth in (1, 3, 8) if SCALE == 1 else (1, 2, 3, 5, 8, 13):
        with Proxy(redis_server.port) as proxy:
            node = another(proxy.redis_url)
            node.start(before)
            node.wait_serves()
            hold = proxy.hold_reply(b"FCALL", b"sess", nth=nth)
            node.files.write(after)
            wait_until(lambda h=hold, n=node: h.arrived.is_set() or n.serves(), 20)  # type: ignore[misc]
            node.daemon.kill()
            hold.release()
            wait_until(lambda p=proxy: not p.connections, 20)  # type: ignore[misc]
            node.start()
            node.wait_serves()
            both.wait_rest(after)
            node.daemon.terminate()


def test_two_keyspaces_and_an_overlap(both: World, another: Nodes) -> None:
    """nothing_lost, fenced: contracts of two daemons have templates that are not the same and may meet; the later one
    stands by, and has its keys when the first is gone permanently."""
    both.set("films", range(COUNT), kind="film")
    before = {"films": contract("films", shape("film:{_id}"))}
    after = {"kinds": contract("films", shape("{kind}:{_id}"))}
    old, new = another(), another()
    old.start(before)
    old.wait_serves()
    new.start(after)
    new.wait_state("kinds", "standby")
    both.set("films", range(10, 20), n=4)
    both.wait_rest(before)
    old.daemon.terminate()
    new.wait_serves()
    both.set("films", range(20, 30), n=5)
    both.wait_rest(after)


def test_partitions_of_two_daemons(both: World, another: Nodes) -> None:
    """nothing_lost: each of two daemons serves a part of every contract; their files change one after the other; a
    template passes only once, and every part copies."""
    before, after = SETS["a file of its own"]
    nodes = [another(SYNCD_PARTITION="1/2"), another(SYNCD_PARTITION="2/2")]
    for node in nodes:
        node.start(before)
    for now in (before, after, before):
        for node in nodes:
            if node.files.contracts != now:
                node.edit(now)
                time.sleep(LEASE_S)
        for node in nodes:
            node.wait_serves()
        both.set("films", range(30, 60), n=len(now))
        both.wait_rest(now)
