"""Which contract has which key template: the record in Redis, as lanes of several daemons ask for it."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from itertools import count

import pytest
from redis import Redis

from syncd.contract.model.redis.template import KeyTemplate
from syncd.errors import FatalError, FencedError
from syncd.plan.claims import INDEX, KEY, Claim, Claims, key_claim
from syncd.plan.partition import Partition
from syncd.plan.to_redis.change import Orphan, Retired, RetiredKey
from syncd.stores.redis.records.claims import CLAIMS, read_claims
from syncd.stores.redis.records.lease import OLDER_WAITS, Lease
from syncd.stores.redis.records.orphans import remove_records
from syncd.stores.redis.records.position import ControlKeys, Position
from syncd.stores.redis.store import RedisStore
from syncd.to_redis.apply.calls.operations import Operations
from syncd.to_redis.apply.calls.writer import Writer

TTL_S = 0.2


class Daemon:
    """One of several, with the contracts that it is asked for."""

    numbers = count(1)

    def __init__(self, store: RedisStore, token: str) -> None:
        self._store, self._token = store, token
        self._owner = f"host/kernel/0/{next(self.numbers)}"
        self._leases: dict[str, Lease] = {}

    def take(
        self,
        name: str,
        *templates: str,
        kind: str = "mongo",
        version: str = "1",
        ttl: float = 60,
        type: str = "hash",
    ) -> Lease:
        """The lease of a contract with these templates, under the prefix of the test; `slug` has a map."""
        claims = [key_claim(KeyTemplate.parse(f"{self._token}:{text}"), "card", type) for text in templates]
        found = self._leases.get(name + version)
        if found is None:
            keys = ControlKeys(f"{self._token}-{name}")
            found = self._leases[name + version] = Lease(
                self._store, keys, self._owner, ttl, Claims(kind, version, tuple(claims))
            )
        found.acquire()
        return found


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


def holders(store: RedisStore, token: str) -> dict[str, str]:
    """Contract by template, without what is free."""
    _, claims = read_claims(store)
    return {
        name.removeprefix(f"{KEY}{token}:"): said["contract"].removeprefix(f"{token}-")
        for name, said in claims.items()
        if name.startswith(f"{KEY}{token}:") and not said.get("free")
    }


def tell_roster(store: RedisStore, token: str, place: str, *names: str) -> list[str]:
    """What a daemon says of its set. Returns the contracts that left."""
    full = [f"{token}-{name}" for name in names]
    digest = f"{token} {' '.join(names)}"
    reply = store.call(
        "syncd_roster", [], [f"{token}:{place}", digest, json.dumps(full), round(time.time()), ""]
    )
    return [name.decode().removeprefix(f"{token}-") for name in reply[1]]


def test_a_template_has_one_contract(store: RedisStore, token: str, old: Daemon, new: Daemon) -> None:
    """While a daemon works on a contract, another one that could have the same keys gets no lease; when it has stopped,
    it gets lease and template in one step."""
    lease = old.take("a", "x:{_id}")
    for template in ("x:{_id}", "x:{slug}", "{slug}:7"):
        with pytest.raises(FencedError, match="belongs to contract") as told:
            new.take("b", template, version=template)
        assert told.value.holder
    assert holders(store, token) == {"x:{_id}": "a"}
    lease.release()
    new.take("b", "x:{slug}", version="x:{slug}")
    assert holders(store, token) == {"x:{slug}": "b"}


def test_a_template_that_was_let_go(store: RedisStore, token: str, old: Daemon, new: Daemon) -> None:
    """A contract that has lost a template works on; who wants the template has it."""
    old.take("a", "x:{_id}", "y:{_id}")
    old.take("a", "y:{_id}", version="2")
    new.take("b", "x:{_id}")
    assert holders(store, token) == {"y:{_id}": "a", "x:{_id}": "b"}


def test_a_removal_that_comes_late(
    store: RedisStore, redis: Redis, token: str, old: Daemon, new: Daemon
) -> None:
    """no_ghosts, nothing_lost: a contract that has let a template go, and works on, removes no key that another one has
    claimed since, whatever it decided before: the call that removes looks."""
    old.take("a", "x:{_id}", "y:{_id}")
    lease = old.take("a", "y:{_id}", version="2")
    new.take("b", "x:{_id}")
    keys = [f"{token}:{end}" for end in ("x:1", "x:2", "z:1", "z:2")]
    for key in keys:
        redis.hset(key, "a", "1")
    control = ControlKeys(f"{token}-a")
    operations = Operations(control, f"{token}-a", "2")
    for key in keys:
        gone = Retired("card", "hash", KeyTemplate.parse(key[:-1] + "{_id}"))
        operations.add(RetiredKey(gone, "1", key, ()) if key.endswith("1") else Orphan(gone, "", key, ""))
    writer = Writer(store, control, lease)
    writer.send(operations, Position())
    assert writer.receive().ok
    writer.close()
    assert [redis.exists(key) for key in keys] == [1, 1, 0, 0]


def test_maps_and_types_go_along(
    store: RedisStore, redis: Redis, token: str, old: Daemon, new: Daemon
) -> None:
    """The map of keys of a template goes to the contract that takes it, and so does what type its keys have."""
    old.take("a", "x:{slug}").release()
    theirs, mine = ControlKeys(f"{token}-a"), ControlKeys(f"{token}-b")
    redis.hset(theirs.keys_by_id("card", f"{token}:x:{{slug}}"), "1", f"{token}:x:one")
    redis.hset(theirs.ids_by_key("card", f"{token}:x:{{slug}}"), f"{token}:x:one", "0000000000000001 1")
    new.take("b", "x:{slug}")
    assert redis.hgetall(mine.keys_by_id("card", f"{token}:x:{{slug}}")) == {b"1": f"{token}:x:one".encode()}
    assert redis.exists(mine.ids_by_key("card", f"{token}:x:{{slug}}"))
    assert json.loads(redis.hget(mine.position, "owned") or "") == [["card", f"{token}:x:{{slug}}", "hash"]]


@pytest.mark.parametrize("how", ["evicted", "taken"])
def test_a_template_that_only_a_position_knows(
    store: RedisStore, redis: Redis, token: str, old: Daemon, new: Daemon, how: str
) -> None:
    """no_ghosts, nothing_lost: a contract has left, and its claim is gone, `evicted` or `taken` by one to MongoDB whose
    template meets it: who takes the template has its keys, with their map, and those of an application stay its own."""
    tell_roster(store, token, "one", "a", "b", "c")
    old.take("a", "x:{slug}").release()
    theirs, mine, template = ControlKeys(f"{token}-a"), ControlKeys(f"{token}-b"), f"{token}:x:{{slug}}"
    redis.hset(theirs.position, "owned", json.dumps([["card", template, "hash"]]))
    redis.hset(theirs.keys_by_id("card", template), "1", f"{token}:x:one")
    redis.sadd(theirs.foreign, "syncd:", f"{token}:x:app", f"{token}:y:app")
    tell_roster(store, token, "one", "b", "c")
    if how == "evicted":
        redis.delete(CLAIMS)
    else:
        new.take("c", "x:a{_id}", kind="keyspace").release()
        assert redis.hget(theirs.position, "owned"), "it still says so, and `syncd orphans` by that"
        new.take("c", "z:{_id}", kind="keyspace", version="2").release()
        redis.hdel(CLAIMS, f"{KEY}{token}:x:a{{_id}}")
    new.take("b", "x:{slug}", type="json")
    said = read_claims(store)[1][KEY + template]
    assert not said.get("new") and said["noted"]
    assert ["card", template, "hash"] in json.loads(redis.hget(mine.position, "owned") or "")
    assert redis.exists(mine.keys_by_id("card", template)) and not redis.hget(theirs.position, "owned")
    assert redis.smembers(mine.foreign) == {b"syncd:", f"{token}:x:app".encode()}


def test_maps_of_members_go_along_twice(redis: Redis, token: str, old: Daemon, new: Daemon) -> None:
    """no_ghosts: the maps that say of which keys documents are members go to the contract whose template only meets,
    and from there to a third one that takes that, before the copy of the second has removed anything."""
    old.take("a", "x:{_id}", type="set members").release()
    maps = [
        [ControlKeys(f"{token}-{name}").members("card", f"{token}:x:{{_id}}"),
         ControlKeys(f"{token}-{name}").deadlines("card", f"{token}:x:{{_id}}")]
        for name in "abc"
    ]  # fmt: skip
    redis.hset(maps[0][0], mapping={"1": "[]", ":": "1"})
    redis.zadd(maps[0][1], {"1": 1})
    for name, template in (("b", "x:{slug}"), ("c", "x:{n}")):
        new.take(name, template, type="set members").release()
    assert [redis.exists(*both) for both in maps] == [0, 0, 2]
    assert redis.hgetall(maps[2][0]) == {b"1": b"[]"}, "who takes it does not know that it is whole"


@pytest.mark.parametrize(
    ("template", "key"),
    [
        ("x:{_id}", "x:1"),
        ("x:{{{a}}}:{slug}", "x:{e}:%7B"),
        ("x.{b*}-", "x.a:b-.+-"),
        ("z:{a*}:{b*}:{c*}:{d*}z", "z:1:2:3:4z"),
    ],
)
def test_keys_of_an_application_go_along(
    redis: Redis, token: str, old: Daemon, new: Daemon, template: str, key: str
) -> None:
    """nothing_lost, no_ghosts: keys that an application had under a template stay its own under the contract that takes
    it, also those of a template that the other one was still to clear. Not those that are noted under templates which
    that contract, or the taker itself, had once: by now they may be anyone's. A key of thousands of
    colons costs no more than its length."""
    theirs, mine = (ControlKeys(f"{token}-{name}").foreign for name in ("a", "b"))
    old.take("a", template, "v:{_id}").release()
    old.take("a", template, version="2").release()
    redis.sadd(theirs, "syncd:", f"{token}:{key}", f"{token}:v:1", f"{token}:w:1", f"{token}:z:{':' * 3000}")
    new.take("b", "y:{_id}").release()
    redis.sadd(mine, "syncd:", f"{token}:y:1", f"{token}:w:2", f"{token}:x:gone")
    redis.hset(
        ControlKeys(f"{token}-b").position, "orphaned", json.dumps([["card", f"{token}:u:{{_id}}", "hash"]])
    )
    redis.sadd(mine, f"{token}:u:1")
    new.take("b", "y:{_id}", template, version="2")
    kept = {f"{token}:{end}".encode() for end in (key, "y:1", "u:1")}
    assert redis.smembers(mine) == {b"syncd:", *kept}


def test_an_applications_key_of_a_type_that_an_edit_replaces(
    store: RedisStore, redis: Redis, token: str, old: Daemon
) -> None:
    """nothing_lost: during the copy behind an edit a write replaces a key of a type that the contract had before; one
    of that type that an application had is a refusal, as always."""
    lease, control = old.take("a", "x:{_id}"), ControlKeys(f"{token}-a")
    keys = [f"{token}:x:{number}" for number in (1, 2)]
    for key in keys:
        redis.rpush(key, "mine")
    redis.sadd(control.foreign, "syncd:", keys[1])
    replies = [
        store.call(
            "syncd_apply",
            [control.lease, control.position, control.dead, control.stale, key],
            [lease.value, lease.ttl_ms, "list", "", "0", 0, "h", "0", 2, "n", "1"],
        )
        for key in keys
    ]
    assert [reply[0] for reply in replies] == [b"ok", b"refused"]
    assert [redis.type(key) for key in keys] == [b"hash", b"list"]


def test_a_position_is_void_when_another_contract_had_the_keys(
    redis: Redis, token: str, old: Daemon, new: Daemon
) -> None:
    """A contract gets its template back, or goes another way: it begins again. A restart, or a version of
    before there were claims, goes on."""
    position = ControlKeys(f"{token}-a").position
    redis.hset(position, mapping={"token": "old", "fingerprint": "one", "epoch": 5})
    old.take("a", "x:{_id}").release()
    old.take("a", "x:{_id}").release()
    assert redis.hget(position, "fingerprint") == b"one"
    new.take("b", "x:{_id}").release()
    new.take("a", "x:{_id}").release()
    assert redis.hget(position, "fingerprint") == b"", "as after an edit, it copies"
    assert int(redis.hget(position, "epoch") or 0) > 5
    redis.hset(position, "token", "new")
    new.take("a", "x:{_id}", kind="keyspace", version="2")
    assert redis.hget(position, "token") is None


@pytest.mark.parametrize("layout", ["", "1:5"])
@pytest.mark.parametrize("again", [False, True])
def test_what_a_contract_had_is_known_without_its_position(
    redis: Redis, token: str, old: Daemon, layout: str, again: bool
) -> None:
    """no_ghosts, nothing_lost: where the position was evicted, and the contract edited meanwhile, the claims say under
    which templates it may have keys that it no longer has, which go at the end of the copy, and of which type the keys
    were that it has still; also where a lane had begun `again` and not come to store that, and under a `layout`."""
    position = ControlKeys(f"{token}-a").position
    old.take("a", "x:{_id}", "y:{_id}").release()
    if layout:
        redis.hset(ControlKeys(f"{token}-a").layout, "now", layout)
    redis.delete(position)
    if again:
        old.take("a", "x:{_id}", "y:{_id}").release()
    old.take("a", "y:{_id}", version="2", type="json")
    owned = json.loads(redis.hget(position, "owned") or "[]")
    assert sorted(owned) == [["card", f"{token}:{text}:{{_id}}", "hash"] for text in ("x", "y")]


def test_what_a_contract_had_is_known_without_its_claims_and_its_position(
    redis: Redis, token: str, old: Daemon
) -> None:
    """no_ghosts: the claims were evicted, and then the position, before the copy that follows an edit had ended: keys
    of the template that the edit gave up are still known."""
    position = ControlKeys(f"{token}-a").position
    gone = ["card", f"{token}:x:{{_id}}", "hash"]
    old.take("a", "x:{_id}", "y:{_id}").release()
    redis.hset(position, "owned", json.dumps([gone]))
    redis.delete(CLAIMS)
    old.take("a", "y:{_id}", version="2").release()
    redis.delete(position)
    old.take("a", "y:{_id}", version="2").release()
    owned = json.loads(redis.hget(position, "owned") or "[]")
    assert gone in owned


@pytest.mark.parametrize("evicted", [False, True])
def test_what_a_copy_has_removed_is_an_applications(
    redis: Redis, token: str, old: Daemon, evicted: bool
) -> None:
    """An edit gave up a template, and the copy behind it has removed the keys: an application may have such keys now,
    and where the position is evicted later nothing says that they were the contract's. Nor where the claims had been
    `evicted` meanwhile. As long as another partition has yet to end its copy, it is said."""
    position = ControlKeys(f"{token}-a").position
    gone = ["card", f"{token}:x:{{_id}}", "hash"]
    old.take("a", "x:{_id}", "y:{_id}").release()
    redis.hset(position, "owned", json.dumps([gone]))
    if evicted:
        redis.delete(CLAIMS)
    lease = old.take("a", "y:{_id}", version="2")
    layout = ControlKeys(f"{token}-a").layout
    redis.hset(layout, "now", "2:5")
    redis.hset(position, "layout", "2:5")
    lease.forget_removed([gone])
    assert f"{token}:x:{{_id}}" in str(redis.hgetall(CLAIMS))
    redis.delete(layout)
    redis.hdel(position, "layout")
    redis.hset(position, "owned", json.dumps([gone]))
    lease.forget_removed([gone])
    assert f"{token}:x:{{_id}}" not in str(redis.hgetall(CLAIMS))
    assert not redis.hget(position, "owned"), (
        "a daemon that is killed now does not remove what comes meanwhile"
    )
    lease.release()
    redis.delete(position)
    old.take("a", "y:{_id}", version="2")
    assert not redis.hget(position, "owned")


def test_who_takes_a_template_has_it_alone(
    store: RedisStore, redis: Redis, token: str, old: Daemon, new: Daemon
) -> None:
    """Another contract takes a template that one has given up and not removed yet, while the claims are evicted: keys
    of it are no longer the first one's to remove, by its claims or its position, also when the other one is gone."""
    tell_roster(store, token, "one", "a", "c")
    for name in ("a", "c"):
        old.take(name, "x:{_id}", f"{name}:{{_id}}").release()
        redis.hset(
            ControlKeys(f"{token}-{name}").position,
            "owned",
            json.dumps([["card", f"{token}:x:{{_id}}", "hash"]]),
        )
        redis.delete(CLAIMS)
    old.take("c", "c:{_id}", version="2").release()
    assert '"free":true' in str(redis.hgetall(CLAIMS))
    new.take("b", "x:{_id}").release()
    remove_records(store, f"{token}-b")
    for name in ("a", "c"):
        redis.hdel(ControlKeys(f"{token}-c").position, "owned")
        old.take(name, f"{name}:{{_id}}", version="2")
        assert not redis.hget(ControlKeys(f"{token}-{name}").position, "owned")


def _other_contract(redis: Redis, old: Daemon, token: str) -> str:
    old.take("b", "x:{slug}")
    return ControlKeys(f"{token}-b").lease


def _other_layout(redis: Redis, old: Daemon, token: str) -> str:
    keys = ControlKeys(f"{token}-a", Partition(1, 2))
    redis.hset(keys.layout, "now", "2:5")
    redis.set(keys.lease, "elsewhere/1.1/1/x:1")
    return keys.lease


def _newer_version(redis: Redis, old: Daemon, token: str) -> str:
    waiting = f"{ControlKeys(f'{token}-a').lease}:waiting"
    redis.set(waiting, "99999999999 another")
    return waiting


@pytest.mark.parametrize("left", [_other_contract, _other_layout, _newer_version])
def test_what_a_clock_that_went_back_leaves(
    redis: Redis, token: str, old: Daemon, new: Daemon, left: Callable[[Redis, Daemon, str], str]
) -> None:
    """nothing_lost: what a daemon of another machine left behind when it died lives an hour longer where Redis's clock
    goes back: the lease of a contract that has the keys, that of another layout, the note that a newer version waits. A
    lane waits no longer for it than the lease lasts."""
    redis.pexpire(left(redis, old, token), 3_600_000)
    with pytest.raises(FencedError):
        new.take("a", "x:{_id}", ttl=TTL_S)
    time.sleep(TTL_S * 1.5)
    new.take("a", "x:{_id}", ttl=TTL_S)


def test_a_record_that_is_gone(redis: Redis, token: str, old: Daemon, new: Daemon) -> None:
    """The claims were evicted or deleted, and another contract had the template meanwhile: the first one copies."""
    for name in ("c", "d", "e"):
        old.take(name, f"{name}:{{_id}}").release()
    old.take("a", "x:{_id}").release()
    position = ControlKeys(f"{token}-a").position
    redis.hset(position, "fingerprint", "one")
    redis.delete(CLAIMS)
    new.take("b", "x:{_id}").release()
    new.take("a", "x:{_id}").release()
    assert redis.hget(position, "fingerprint") == b""


@pytest.mark.parametrize("text", ["{half", "[]", "{}"])
def test_an_entry_that_another_client_changed(
    redis: Redis, store: RedisStore, token: str, old: Daemon, text: str
) -> None:
    """No lane begins, because whose keys these are is unknown; the error names the entry, and its remedy helps."""
    name = f"{KEY}{token}:x:{{_id}}"
    redis.hset(CLAIMS, name, text)
    try:
        with pytest.raises(FatalError, match=rf"HDEL {CLAIMS} '{KEY}{token}:x:"):
            old.take("a", "x:{_id}")
    finally:
        redis.hdel(CLAIMS, name)
    old.take("a", "x:{_id}")
    assert holders(store, token) == {"x:{_id}": "a"}


def test_an_entry_that_changes_while_a_lane_works(redis: Redis, token: str, old: Daemon) -> None:
    """A step that asks whose a key is names the entry and its remedy, as the start of a lane does."""
    lease = old.take("a", "x:{_id}")
    name = f"{KEY}{token}:other:{{_id}}"
    redis.hset(CLAIMS, name, "{half")
    try:
        with pytest.raises(FatalError, match=rf"HDEL {CLAIMS} '{KEY}{token}:other:"):
            lease.allow_removal()
    finally:
        redis.hdel(CLAIMS, name)


def test_a_record_of_another_type(redis: Redis, old: Daemon) -> None:
    """Redis does not say which key it is that has another type; the error does."""
    lease = old.take("a", "x:{_id}")
    redis.delete(CLAIMS)
    redis.set(CLAIMS, "x")
    try:
        with pytest.raises(
            FatalError, match=rf"{CLAIMS} holds another Redis type \(string\); delete that key"
        ):
            lease.confirm()
    finally:
        redis.delete(CLAIMS)


def test_an_older_version_leaves_a_newer_one_time(
    store: RedisStore, token: str, old: Daemon, new: Daemon
) -> None:
    """A daemon with newer files lost its lease by accident: one with older files waits some lease times, then goes on.
    Where the newer one stopped in order, it goes on at once."""
    old.take("a", "x:{_id}", ttl=TTL_S)
    with pytest.raises(FencedError):
        new.take("a", "x:{_id}", version="2", ttl=TTL_S)
    time.sleep(1.5 * TTL_S)  # the lease runs out
    new.take("a", "x:{_id}", version="2", ttl=TTL_S).release()
    old.take("a", "x:{_id}", ttl=TTL_S)
    time.sleep(1.5 * TTL_S)
    new.take("a", "x:{_id}", version="2", ttl=TTL_S)
    time.sleep(1.5 * TTL_S)
    with pytest.raises(FencedError, match="newer version") as told:
        old.take("a", "x:{_id}", ttl=TTL_S)
    assert not told.value.holder
    time.sleep(OLDER_WAITS * TTL_S + 0.05)
    old.take("a", "x:{_id}", ttl=TTL_S)


def test_an_older_contract_takes_back_what_was_given_up(
    store: RedisStore, token: str, old: Daemon, new: Daemon
) -> None:
    """A contract of newer files took a template over and its daemon was killed: the older one says who has it, and
    waits for some times its lease before it takes it back. A daemon that starts now has the newest files."""
    old.take("a", "x:{_id}", ttl=TTL_S)
    time.sleep(1.5 * TTL_S)
    new.take("b", "x:{_id}", ttl=TTL_S)
    time.sleep(1.5 * TTL_S)
    with pytest.raises(FencedError, match="of a daemon with newer files, which was not"):
        old.take("a", "x:{_id}", ttl=TTL_S)
    time.sleep((OLDER_WAITS + 1) * TTL_S)
    old.take("a", "x:{_id}", ttl=TTL_S)
    time.sleep(1.5 * TTL_S)
    new.take("b", "x:{_id}", ttl=TTL_S)
    time.sleep(1.5 * TTL_S)
    Daemon(store, token).take("a", "x:{_id}", version="again")
    assert holders(store, token) == {"x:{_id}": "a"}


def test_daemons_with_the_same_contract_are_equals(old: Daemon, new: Daemon) -> None:
    """Two daemons with the same contract replace each other without a wait."""
    old.take("a", "x:{_id}", ttl=TTL_S)
    time.sleep(1.5 * TTL_S)
    new.take("a", "x:{_id}", ttl=TTL_S)
    time.sleep(1.5 * TTL_S)
    old.take("a", "x:{_id}", ttl=TTL_S)


def test_an_index_goes_along(redis: Redis, store: RedisStore, token: str, old: Daemon, new: Daemon) -> None:
    """The record of the index that serves an alias goes to the contract that takes the alias."""
    alias = Claim(f"{INDEX}{token}-films", "card", "hash", True, "")

    def lease(name: str) -> Lease:
        return Lease(
            store, ControlKeys(f"{token}-{name}"), f"h/k/0/{name}", 60, Claims("mongo", "1", (alias,))
        )

    first = lease("a")
    first.acquire()
    redis.hset(ControlKeys(f"{token}-a").indexes, f"serving:{token}-films", "{}")
    first.release()
    lease("b").acquire()
    assert redis.hgetall(ControlKeys(f"{token}-b").indexes) == {f"serving:{token}-films".encode(): b"{}"}
    assert not redis.exists(ControlKeys(f"{token}-a").indexes)
