"""What contracts that left have in Redis, and what `remove` takes, as commands and daemons ask for it."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from redis import Redis

from syncd.contract.model.redis.template import KeyTemplate
from syncd.errors import FencedError
from syncd.ops.leftovers import SILENCE_S
from syncd.plan.claims import KEY, key_claim
from syncd.plan.keys.templates import render
from syncd.stores.redis.records.claims import CLAIMS, CONTRACTS, read_left
from syncd.stores.redis.records.keys.foreign_keys import count_foreign, has_lost_foreign
from syncd.stores.redis.records.lease import Lease
from syncd.stores.redis.records.orphans import (
    count_keys,
    find_orphan,
    keys_of,
    note_set,
    remove_keys,
    remove_records,
)
from syncd.stores.redis.records.position import ControlKeys
from syncd.stores.redis.records.requests.pauses import pause, resume
from syncd.stores.redis.store import RedisStore
from tests.integration.test_claims import Daemon, tell_roster
from tests.support.cli import syncd
from tests.unit.plan.strategies import key_values


@pytest.fixture
def store(redis_url: str) -> Iterator[RedisStore]:
    store = RedisStore(redis_url)
    store.connect()
    yield store
    store.close()


@pytest.fixture
def old(store: RedisStore, token: str) -> Daemon:
    return Daemon(store, token)


@pytest.fixture
def new(store: RedisStore, token: str) -> Daemon:
    return Daemon(store, token)


def test_a_contract_that_left(store: RedisStore, redis: Redis, token: str, old: Daemon, new: Daemon) -> None:
    """A contract has left when a daemon of the same place, or of a set with others of it, runs without it and no daemon
    works on it. It begins again when it comes back."""
    old.take("a", "x:{_id}").release()
    lease = old.take("b", "y:{_id}")
    assert tell_roster(store, token, "one", "a", "b") == []
    assert tell_roster(store, token, "a third", "c") == []
    assert tell_roster(store, token, "elsewhere", "a") == [], "a daemon works on b"
    lease.release()
    assert tell_roster(store, token, "elsewhere", "a") == ["b"]
    assert tell_roster(store, token, "one") == []
    assert tell_roster(store, token, "elsewhere") == ["a"]
    assert {f"{token}-a", f"{token}-b"} <= read_left(store).keys()
    redis.hset(ControlKeys(f"{token}-a").position, "fingerprint", "one")
    old.take("a", "x:{_id}")
    assert redis.hget(ControlKeys(f"{token}-a").position, "fingerprint") == b""


def has_run(redis: Redis, lease: Lease, token: str, *names: str) -> None:
    """What a lane that wrote keys of these templates leaves behind."""
    owned = [["card", f"{token}:{name}:{{_id}}", "hash"] for name in names]
    redis.hset(ControlKeys(lease.contract).position, mapping={"owned": json.dumps(owned), "token": "one"})
    for name in names:
        redis.hset(f"{token}:{name}:1", "n", 1)
    lease.release()


@pytest.mark.parametrize("then", ["left", "another template", "taken over", "taken over, and removed"])
def test_what_became_an_applications_is_no_orphans(
    store: RedisStore, redis: Redis, token: str, old: Daemon, new: Daemon, then: str
) -> None:
    """Keys that syncd wrote and that passed to a contract to MongoDB are the application's, whichever of the contracts
    leaves afterwards: they are not listed, and `remove --keys` leaves them."""
    assert tell_roster(store, token, "one", "x", "z") == []
    has_run(redis, old.take("x", "s:{_id}", "u:{_id}"), token, "s", "u")
    if then.startswith("taken over"):
        new.take("y", "s:{_id}", kind="keyspace").release()
        tell_roster(store, token, "one", "y", "z")
    else:
        new.take("x", "s:{_id}", kind="keyspace", version="2").release()
        if then == "another template":
            new.take("x", "q:{_id}", kind="keyspace", version="3").release()
    tell_roster(store, token, "one", "z")
    if then == "taken over, and removed":
        remove_records(store, f"{token}-y")
    orphan = find_orphan(store, f"{token}-x")
    listed = [
        key for shape in orphan.shapes for page in keys_of(store, orphan.contract, shape) for key in page
    ]
    assert listed == [f"{token}:u:1"]
    assert sum(remove_keys(store, orphan, shape) for shape in orphan.shapes) == 1
    assert redis.exists(f"{token}:s:1")


def test_what_is_counted_is_there(store: RedisStore, redis: Redis, token: str, old: Daemon) -> None:
    """Of what a contract left only keys that `remove --keys` would remove are counted, whatever the maps say: no key
    that is gone, that an application has, or that holds another type. A count that takes too long says so."""
    tell_roster(store, token, "one", "x", "z")
    lease, control = old.take("x", "s:{_id}", "m:{slug}"), ControlKeys(f"{token}-x")
    template = f"{token}:m:{{slug}}"
    redis.hset(control.keys_by_id("card", template), mapping={f"i{n}": f"{token}:m:{n}" for n in range(5)})
    has_run(redis, lease, token, "s")
    redis.hset(
        control.position,
        "owned",
        json.dumps([["card", template, "hash"], ["card", f"{token}:s:{{_id}}", "hash"]]),
    )
    redis.hset(f"{token}:m:1", "n", 1)
    redis.set(f"{token}:m:2", "text")
    redis.hset(f"{token}:s:mine", "n", 1)
    redis.sadd(control.foreign, f"{token}:s:mine")
    tell_roster(store, token, "one", "z")
    orphan = find_orphan(store, f"{token}-x")
    counted = {shape.template.text: count_keys(store, orphan, shape, 60) for shape in orphan.shapes}
    assert counted == {template: (1, True), f"{token}:s:{{_id}}": (1, True)}
    assert [count_keys(store, orphan, shape, -1)[1] for shape in orphan.shapes] == [False, False]
    assert sum(remove_keys(store, orphan, shape) for shape in orphan.shapes) == 2


def test_a_contract_that_came_back_keeps_its_records(
    store: RedisStore, redis: Redis, token: str, old: Daemon
) -> None:
    """The person who is asked whether to remove it may answer late."""
    tell_roster(store, token, "one", "x", "z")
    has_run(redis, old.take("x", "s:{_id}"), token, "s")
    tell_roster(store, token, "one", "z")
    orphan = find_orphan(store, f"{token}-x")
    tell_roster(store, token, "one", "x", "z")
    with pytest.raises(FencedError, match="came back"):
        remove_keys(store, orphan, orphan.shapes[0])
    with pytest.raises(FencedError, match="came back"):
        remove_records(store, orphan.contract)
    assert redis.exists(f"{token}:s:1")
    assert redis.exists(ControlKeys(orphan.contract).position)


def test_remove_spares_what_another_contract_has(
    store: RedisStore, redis: Redis, token: str, old: Daemon, new: Daemon
) -> None:
    """Keys of a contract that left go where no other contract has them, and only of the type that it wrote; records go,
    and while a daemon works on it nothing does."""
    lease = old.take("a", "x:{_id}", "y:{_id}")
    owned = [["card", f"{token}:{name}:{{_id}}", "hash"] for name in "xy"]
    redis.hset(ControlKeys(f"{token}-a").position, "owned", json.dumps(owned))
    for key in ("x:1", "y:1", "y:2"):
        redis.hset(f"{token}:{key}", "a", "1")
    redis.set(f"{token}:x:2", "a string")
    tell_roster(store, token, "one", "a")
    with pytest.raises(FencedError):
        remove_records(store, f"{token}-a")
    lease.release()
    tell_roster(store, token, "one")
    redis.hset(f"{token}:x:o1", "a", "1")
    new.take("b", "y:{_id}", "x:o{_id}", kind="keyspace")
    orphan = find_orphan(store, f"{token}-a")
    assert [remove_keys(store, orphan, shape) for shape in orphan.shapes] == [1], "y is an application's now"
    assert set(redis.keys(f"{token}:*")) == {
        f"{token}:{key}".encode() for key in ("y:1", "y:2", "x:2", "x:o1")
    }
    assert remove_records(store, f"{token}-a") > 0
    assert not redis.keys(f"syncd:{{{token}-a}}:*")
    assert not [name for name in redis.hkeys(CLAIMS) if f"{token}:x:{{_id}}".encode() in name]


literals = st.text(st.sampled_from("ab^$()%.[]*+-? é/%1"), max_size=4)


@given(
    parts=st.lists(st.tuples(literals, key_values), min_size=1, max_size=3),
    tail=literals,
)
def test_the_pattern_of_a_template_fits_its_keys(
    redis_url: str, parts: list[tuple[str, Any]], tail: str
) -> None:
    """The Lua pattern by which a key is spared fits every key that the template can make, with values of every type."""
    text = "".join(f"{literal}:{{f{at}}}" for at, (literal, _) in enumerate(parts)) + tail
    template = KeyTemplate.parse(text)
    try:
        key = render(template)({f"f{at}": value for at, (_, value) in enumerate(parts)}).encode()
    except Exception:
        return
    claim = key_claim(template, "card", "hash")
    with Redis.from_url(redis_url) as client:
        found: Any = client.eval("return ARGV[1]:find(ARGV[2]) and 1 or 0", 0, key, claim.pattern)  # type: ignore[no-untyped-call]
        other: Any = client.eval("return ARGV[1]:find(ARGV[2]) and 1 or 0", 0, b"~" + key, claim.pattern)  # type: ignore[no-untyped-call]
    assert found == 1
    assert other == 0 or text.startswith(":")


def test_a_record_of_an_older_version_is_whole(
    store: RedisStore, redis: Redis, token: str, old: Daemon
) -> None:
    """nothing_lost: what a version noted that did not know whether it is whole counts as whole; from the first lease
    on its loss is seen, by what the position says also where the claims went along, and by a contract that takes the
    template over."""
    lease, control = old.take("a", "x:{_id}"), ControlKeys(f"{token}-a")
    assert lease.note_foreign(f"{token}:x:{{_id}}", "done") == "ok"
    assert not has_lost_foreign(store, control.contract) and not redis.exists(control.foreign)
    redis.sadd(control.foreign, f"{token}:x:mine")
    old.take("a", "x:{_id}")
    assert count_foreign(store, control.contract) == 1 and not has_lost_foreign(store, control.contract)
    redis.delete(control.foreign)
    assert has_lost_foreign(store, control.contract)
    redis.hdel(CLAIMS, f"{KEY}{token}:x:{{_id}}")
    assert has_lost_foreign(store, control.contract)
    redis.hset(control.position, "owned", json.dumps([["card", f"{token}:x:{{_id}}", "hash"]]))
    old.take("a", "x:{_id}").release()
    assert has_lost_foreign(store, control.contract)
    taken = old.take("b", "x:{_id}")
    assert has_lost_foreign(store, f"{token}-b")
    taken.allow_removal()
    assert not has_lost_foreign(store, f"{token}-b")


def test_remove_keeps_keys_that_may_be_an_application_s(
    store: RedisStore, redis: Redis, redis_url: str, token: str, old: Daemon
) -> None:
    """nothing_lost: where Redis has lost which keys were there before a contract, `remove --keys` removes nothing until
    `--allow-removal`."""
    name, mine = f"{token}-x", f"{token}:s:mine"
    tell_roster(store, token, "one", "x", "z")
    lease = old.take("x", "s:{_id}")
    redis.hset(mine, "n", 1)
    assert lease.note_foreign(f"{token}:s:{{_id}}", "done", [mine.encode()]) == "ok"
    has_run(redis, lease, token, "s")
    tell_roster(store, token, "one", "z")
    redis.delete(ControlKeys(name).foreign)
    words = ("remove", name, "--keys", "--yes")
    refused = syncd(*words, SYNCD_REDIS_URL=redis_url)
    assert refused.returncode == 1
    assert "lost the record" in refused.stderr
    assert redis.exists(mine, f"{token}:s:1", ControlKeys(name).position) == 3
    assert syncd(*words, "--allow-removal", SYNCD_REDIS_URL=redis_url).returncode == 0
    assert not redis.exists(mine, f"{token}:s:1", ControlKeys(name).position)


class Failing(threading.Thread):
    """What a daemon says of a contract that has failed, again and again."""

    def __init__(self, store: RedisStore, place: str, names: list[str]) -> None:
        super().__init__()
        self._store, self._place, self._names, self._end = store, place, names, threading.Event()

    def __enter__(self) -> None:
        self.start()

    def __exit__(self, *_: object) -> None:
        self._end.set()
        self.join()

    def run(self) -> None:
        while not self._end.wait(1.0):
            list(note_set(self._store, self._place, self._names))


def test_a_person_says_that_a_contract_has_left(
    store: RedisStore, redis: Redis, redis_url: str, token: str, old: Daemon
) -> None:
    """fenced: `remove --left` is for a contract of which no daemon can see that it left, such as the last one of a
    directory. It removes nothing while a daemon works on it, nor while it is paused and no daemon with its file can be
    seen, nor while a daemon, for which it failed, says that it has it; and no other contract of its daemon leaves."""
    name, words = f"{token}-x", ("--keys", "--yes", "--left")
    tell_roster(store, token, "one", "x", "z")
    lease, mine = old.take("x", "s:{_id}"), f"{token}:s:1"
    assert syncd("remove", name, *words, SYNCD_REDIS_URL=redis_url).returncode == 1
    has_run(redis, lease, token, "s")
    refused = syncd("remove", name, *words[:2], SYNCD_REDIS_URL=redis_url)
    assert refused.returncode == 1 and f"`syncd remove {name} --left`" in refused.stderr
    pause(store, name, "ann@ops-1")
    refused = syncd("remove", name, *words, SYNCD_REDIS_URL=redis_url)
    assert refused.returncode == 1 and f"`syncd resume {name}`, and" in refused.stderr
    assert redis.exists(mine) and resume(store, name)
    list(note_set(store, f"{token}:one", [name, f"{token}-z"]))
    with Failing(store, f"{token}:one", [name, f"{token}-z"]):
        refused = syncd("remove", name, *words, SYNCD_REDIS_URL=redis_url)
    assert refused.returncode == 1 and "a daemon has contract" in refused.stderr and redis.exists(mine)
    record = json.loads(redis.hget(CONTRACTS, name))
    redis.hset(CONTRACTS, name, json.dumps({**record, "seen": record["seen"] - SILENCE_S}))
    assert syncd("remove", name, *words, SYNCD_REDIS_URL=redis_url).returncode == 0
    assert not redis.exists(mine, ControlKeys(name).position)
    assert name not in read_left(store) and f"{token}-z" not in read_left(store)
    assert tell_roster(store, token, "one", "z") == []
