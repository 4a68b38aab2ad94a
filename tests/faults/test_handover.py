"""Key templates that pass from one contract to another, by one daemon's edits (nothing_lost, no_ghosts, applied_once,
no_echo, nothing_silent).
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from syncd.embedded import RedisServer, ReplicaSet
from tests.support.check import wait_until
from tests.support.ways.handover import (
    FROM_KEYS,
    KEYSPACE,
    Contract,
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

WAYS = ("running", "down", "killed")
"""How a daemon gets an edit: it reads it, or it was stopped, or killed, and finds it at its start."""


@pytest.fixture
def both(replica_set: ReplicaSet, redis_server: RedisServer) -> Iterator[World]:
    with world(replica_set.uri, redis_server.url) as found:
        found.fill("films", range(COUNT))
        yield found


@contextmanager
def daemon(folder: Path, mongo_uri: str, redis_url: str, **env: str) -> Iterator[Node]:
    one = Node(folder, mongo_uri, redis_url, **env)
    try:
        yield one
    finally:
        one.daemon.close()


@pytest.fixture
def node(both: World, replica_set: ReplicaSet, redis_server: RedisServer, tmp_path: Path) -> Iterator[Node]:
    with daemon(tmp_path / "contracts", replica_set.uri, redis_server.url) as one:
        yield one


def run(node: Node, both: World, contracts: Contracts) -> None:
    node.start(contracts)
    node.wait_serves()
    assert not both.differences(contracts)


def edit(node: Node, contracts: Contracts, way: str = "running") -> None:
    """Returns when the whole set is live."""
    if way == "running":
        node.edit(contracts)
    else:
        node.daemon.terminate() if way == "down" else node.daemon.kill()
        node.start(contracts)
    node.wait_serves()


def change(both: World, collection: str = "films", n: int = 1) -> None:
    """Some documents change, one goes, and another comes."""
    numbers = sorted(both.documents[collection])
    both.set(collection, numbers[5:20], n=n, text=f"changed {n}")
    both.delete(collection, numbers[:1])
    both.fill(collection, [numbers[-1] + 1], n)


def check(both: World, contracts: Contracts, *collections: str, left: Contracts | None = None) -> None:
    """Everything is as it should be, and so it is when documents have changed: every lane works."""
    both.wait_rest(contracts, left)
    for collection in collections:
        change(both, collection, n=7)
    both.wait_rest(contracts, left)


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("kind", ["hash", "json", "string"])
def test_a_projection_moves_to_a_file_of_its_own(both: World, node: Node, kind: str, way: str) -> None:
    """nothing_lost: one edit moves a projection of each type into another contract, while the daemon runs, is stopped,
    or was killed; its keys stay and follow their documents."""
    film, sess = shape("film:{_id}", type=kind), shape("sess:{_id}", name="sess", type=kind)
    run(node, both, {"films": contract("films", film, sess)})
    apart = {"films": contract("films", film), "sessions": contract("films", sess)}
    edit(node, apart, way)
    check(both, apart, "films")


@pytest.mark.parametrize("env", [{}, {"SYNCD_WORKERS": "2", "SYNCD_SPLIT": "true"}], ids=["whole", "split"])
def test_a_projection_moves_and_changes(
    both: World, replica_set: ReplicaSet, redis_server: RedisServer, tmp_path: Path, env: dict[str, str]
) -> None:
    """nothing_lost, no_ghosts: a projection moves with other fields, under a filter, to another type of Redis: its keys
    are what the new contract says, and no dead letter is left of the old type, in none of the parts of a contract."""
    with daemon(tmp_path / "contracts", replica_set.uri, redis_server.url, **env) as node:
        moves_and_changes(both, node)


def moves_and_changes(both: World, node: Node) -> None:
    run(node, both, TOGETHER)
    both.set("films", range(0, COUNT, 2), kind="series")
    sess = shape("sess:{_id}", name="visit", type="json")
    apart = {
        "films": contract("films", shape("film:{_id}", fields={"n": "n"})),
        "sessions": contract("films", sess, filter={"kind": "series"}),
    }
    edit(node, apart)
    both.wait_rest(apart)
    both.set("films", range(0, COUNT, 4), kind="film")
    check(both, apart, "films")
    assert not both.redis.keys("syncd:*:dead")


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("capture", FROM_KEYS)
def test_a_projection_becomes_an_applications(both: World, node: Node, capture: str, way: str) -> None:
    """nothing_lost, no_echo: a projection moves into a contract under which an application owns the keys and deletions
    delete documents: no key and no document goes. What the application then writes and deletes goes over."""
    run(node, both, TOGETHER)
    sessions = contract("films", SESS, sync=FROM_KEYS[capture])
    apart = {"films": contract("films", FILM), "sessions": sessions}
    edit(node, apart, way)
    both.wait_rest(apart)
    both.put("sessions", sessions, range(10, 30), 3)
    both.put("sessions", sessions, range(500, 505), 3)
    both.remove("sessions", sessions, range(40, 45))
    both.wait_rest(apart)


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("capture", FROM_KEYS)
def test_an_applications_keys_become_a_projection(both: World, node: Node, capture: str, way: str) -> None:
    """nothing_lost, no_ghosts, no_echo: keys that an application owned become a projection of another contract: no
    document goes, keys without a document do, and what documents hold shows."""
    sessions = contract("films", SESS, sync=FROM_KEYS[capture])
    both.without = {f"sess:{number}" for number in range(COUNT)}
    before = {"films": contract("films", FILM), "sessions": sessions}
    node.start(before)
    node.wait_serves()
    both.without -= {f"sess:{number}" for number in range(50)}
    both.put("sessions", sessions, range(50), 1)
    if capture.startswith("both"):
        both.without = set()
    both.wait_rest(before)
    both.without = set()
    edit(node, TOGETHER, way)
    check(both, TOGETHER, "films")


@pytest.mark.parametrize("way", WAYS)
def test_two_contracts_swap_their_templates(both: World, node: Node, way: str) -> None:
    """nothing_lost, no_ghosts: two contracts of different collections take each other's template: each key is what
    its new contract says, and none without a document is left."""
    both.fill("people", range(50, 50 + COUNT), 9)
    before = {"a": contract("films", shape("x:{_id}")), "b": contract("people", shape("y:{_id}"))}
    after = {"a": contract("films", shape("y:{_id}")), "b": contract("people", shape("x:{_id}"))}
    run(node, both, before)
    edit(node, after, way)
    check(both, after, "films", "people")
    edit(node, before, way)
    check(both, before, "films", "people")


@pytest.mark.parametrize("way", WAYS)
def test_three_contracts_pass_their_templates_round(both: World, node: Node, way: str) -> None:
    """nothing_lost: templates go round a ring of three contracts of one collection, twice; every key is there."""
    names, ring = ("a", "b", "c"), ["x:{_id}", "y:{_id}", "z:{_id}"]
    for turn in range(3):
        now = {name: contract("films", shape(ring[(at + turn) % 3])) for at, name in enumerate(names)}
        run(node, both, now) if not turn else edit(node, now, way)
    check(both, now, "films")


@pytest.mark.parametrize("way", WAYS)
def test_a_name_that_is_used_again(both: World, node: Node, way: str) -> None:
    """nothing_lost: a contract gets another name, and later another contract gets its old name: the records of the
    first use remove no key of the contract that has its templates now."""
    both.fill("people", range(COUNT), 5)
    run(node, both, TOGETHER)
    renamed = {"movies": TOGETHER["films"]}
    edit(node, renamed, way)
    check(both, renamed, "films")
    again = {**renamed, "films": contract("people", shape("person:{_id}"))}
    edit(node, again, way)
    check(both, again, "films", "people")


def test_a_name_that_is_used_again_when_the_taker_has_left(both: World, node: Node) -> None:
    """nothing_lost: a contract gets another name and goes, and its keys stay; another contract gets the old name: the
    records of the first use remove none of them."""
    both.fill("people", range(COUNT), 5)
    beside = {"beside": contract("people", shape("beside:{_id}"))}
    run(node, both, TOGETHER | beside)
    gone = {"movies": TOGETHER["films"]}
    edit(node, gone | beside)
    check(both, gone | beside, "films", "people")
    edit(node, beside)
    check(both, beside, "people", left=gone)
    left = set(both.redis.keys("film:*"))
    again = {**beside, "films": contract("people", shape("person:{_id}"))}
    edit(node, again)
    check(both, again, "people", left=gone)
    assert len(left) >= COUNT - 5
    assert set(both.redis.keys("film:*")) == left


@pytest.mark.parametrize("way", WAYS)
def test_a_name_that_changes_its_direction(both: World, node: Node, way: str) -> None:
    """nothing_lost, no_echo: one name goes from MongoDB to Redis, then from keys to MongoDB, then back, then once more,
    and both sides change all the time: no document and no key goes but those that a client deleted."""
    forth = {"films": contract("films", FILM)}
    back = {"films": contract("films", FILM, sync=KEYSPACE)}
    run(node, both, forth)
    for turn in (1, 2):
        edit(node, back, way)
        both.wait_rest(back)
        both.put("films", back["films"], range(20, 30), 10 * turn)
        both.remove("films", back["films"], [60 + turn])
        both.wait_rest(back)
        edit(node, forth, way)
        check(both, forth, "films")


@pytest.mark.parametrize("also", [False, True], ids=["alone", "and another one"])
def test_a_type_changes_with_the_direction(both: World, node: Node, also: bool) -> None:
    """nothing_lost, nothing_silent: a contract from keys of one type becomes one from MongoDB of another type, alone or
    while it takes a template of another contract: all keys are of the new type, without a dead letter."""
    keys = {"films": contract("films", FILM, sync=KEYSPACE)}
    other = {"others": contract("films", SESS)} if also else {}
    run(node, both, {"films": contract("films", FILM), **other})
    edit(node, {**keys, **other})
    both.put("films", keys["films"], range(10), 1)
    both.wait_rest({**keys, **other})
    shapes = [{**said, "type": "json"} for said in ([FILM, SESS] if also else [FILM])]
    now = {"films": contract("films", *shapes)}
    edit(node, now)
    check(both, now, "films")
    assert not both.redis.keys("syncd:*:dead")


def test_a_name_that_goes_through_all_directions(both: World, node: Node) -> None:
    """nothing_lost, no_echo: one name, one template, and every direction after every other."""
    kinds: dict[str, Contract] = {
        kind: contract("films", FILM, sync=sync) for kind, sync in FROM_KEYS.items()
    }
    kinds["forth"] = contract("films", FILM)
    order = [
        "forth",
        "outbox",
        "both, outbox",
        "forth",
        "both, keyspace",
        "keyspace",
        "both, outbox",
        "outbox",
        "forth",
    ]
    run(node, both, {"films": kinds["forth"]})
    for turn, kind in enumerate(order):
        now = {"films": kinds[kind]}
        if turn:
            edit(node, now)
        both.wait_rest(now)
        if kind != "forth":
            both.put("films", now["films"], range(turn, 90, 9), 100 + turn)
        if kind not in ("outbox", "keyspace"):
            both.set("films", range(91, 95), n=200 + turn)
        both.wait_rest(now)


@pytest.mark.parametrize("capture", ["keyspace", "both, keyspace"])
@pytest.mark.parametrize("same", [True, False], ids=["one name", "two names"])
def test_a_document_leaves_the_filter_meanwhile(both: World, node: Node, same: bool, capture: str) -> None:
    """nothing_lost, no_echo: an application owned keys, then a contract with a filter had them and removed some; when
    the application's contract has them again, their documents are not taken for deleted."""
    both.set("films", range(COUNT), kind="film")
    keys = {"a": contract("films", FILM, sync=FROM_KEYS[capture])}
    filtered = contract("films", FILM, filter={"kind": "film"})
    run(node, both, {"a": contract("films", FILM)})
    edit(node, keys)
    both.put("a", keys["a"], range(COUNT), 1)
    both.wait_rest(keys)
    between = {"a" if same else "b": filtered}
    edit(node, between)
    both.set("films", range(30), kind="series")
    both.wait_rest(between)
    edit(node, keys)
    if capture == "keyspace":
        both.without = {f"film:{number}" for number in range(30)}
    both.wait_rest(keys)


@pytest.mark.parametrize("way", WAYS)
def test_a_contract_that_comes_back_copies(both: World, node: Node, way: str) -> None:
    """nothing_lost, no_ghosts: a contract was removed, its keys got a foreign field, and documents changed and went:
    when it comes back it copies, and every key is as its document."""
    both.fill("people", range(10))
    other = {"people": contract("people", shape("person:{_id}"))}
    run(node, both, {**TOGETHER, **other})
    edit(node, other, way)
    check(both, other, "people", left=TOGETHER)
    for key in both.redis.scan_iter("sess:*"):
        both.redis.hset(key, "foreign", "1")
    both.delete("films", range(10))
    both.set("films", range(50, 60), n=4)
    edit(node, {**TOGETHER, **other}, way)
    check(both, {**TOGETHER, **other}, "films", "people")


@pytest.mark.parametrize("capture", FROM_KEYS)
def test_a_contract_from_keys_that_comes_back(both: World, node: Node, capture: str) -> None:
    """nothing_lost: a contract from keys was removed, and the application went on: what it wrote arrives when the
    contract comes back. Deletions that were not noted delete nothing: no daemon was there to hear of them."""
    both.fill("people", range(10))
    other = {"people": contract("people", shape("person:{_id}"))}
    films = contract("films", FILM, sync=FROM_KEYS[capture])
    run(node, both, {**other, "films": contract("films", FILM)})
    edit(node, {**other, "films": films})
    both.put("films", films, range(COUNT), 1)
    both.wait_rest({**other, "films": films})
    edit(node, other)
    both.put("films", films, range(50), 2)
    edit(node, {**other, "films": films})
    both.wait_rest({**other, "films": films})


@pytest.mark.parametrize("way", WAYS)
def test_what_a_removed_contract_left_is_adopted(both: World, node: Node, way: str) -> None:
    """nothing_lost, no_ghosts: a contract goes, and stays away; another one takes its template for another collection,
    and has its keys only. The first comes back with other keys, and removes none of the second's."""
    both.fill("people", range(50, 50 + COUNT), 5)
    other = {"people": contract("people", shape("person:{_id}"))}
    run(node, both, {**TOGETHER, **other})
    edit(node, other, way)
    both.wait_rest(other, left=TOGETHER)
    taken = {"people": contract("people", shape("person:{_id}"), SESS)}
    left = {"films": contract("films", FILM)}
    edit(node, taken, way)
    check(both, taken, "people", left=left)
    edit(node, {**taken, **left}, way)
    check(both, {**taken, **left}, "people", "films")


def test_a_projection_that_no_contract_takes(both: World, node: Node) -> None:
    """no_ghosts: a projection that is dropped and that no other contract takes leaves no key; nor does one whose keys
    change, at the same time as another contract takes a third. What an application has under that template from then
    on stays, also when the position is lost."""
    third = shape("third:{_id}", name="third")
    run(node, both, {"films": contract("films", FILM, SESS, third)})
    after = {"films": contract("films", shape("movie:{_id}")), "sessions": contract("films", SESS)}
    edit(node, after)
    check(both, after, "films")
    both.redis.set("third:mine", "text")
    both.redis.hset("third:1", "mine", "1")
    epoch = both.redis.hget("syncd:{films}:position", "epoch")
    both.redis.delete("syncd:{films}:position")
    wait_until(lambda: both.redis.hget("syncd:{films}:position", "phase") == b"stream")
    assert both.redis.hget("syncd:{films}:position", "epoch") != epoch
    assert sorted(both.redis.keys("third:*")) == [b"third:1", b"third:mine"]


def found(both: World) -> int:
    return int(both.redis.execute_command("FT.SEARCH", "sessions-idx", "*", "LIMIT", 0, 0)[0])
