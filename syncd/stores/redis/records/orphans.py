"""What contracts left behind in Redis: keys that no contract has any more, and records. Finds and removes it."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from syncd.contract.model.redis.redis_types import TYPE_RULES
from syncd.contract.model.redis.template import KeyTemplate
from syncd.errors import FencedError
from syncd.plan.claims import KEY, MONGO
from syncd.plan.keys.templates import parse_key
from syncd.plan.to_redis.change import Retired
from syncd.stores.redis.members import Members
from syncd.stores.redis.records.claims import CONTRACTS, read_claims, read_contracts, read_left
from syncd.stores.redis.records.dead_letters import count_dead_letters
from syncd.stores.redis.records.layout import partitions_of
from syncd.stores.redis.records.lease import is_dead
from syncd.stores.redis.records.position import ControlKeys, Fields, read_fields
from syncd.stores.redis.scan import SCAN_COUNT, KeyScan
from syncd.stores.redis.search import Search
from syncd.stores.redis.store import RedisStore, translated
from syncd.text import shown_holder

NOTED_EVERY_S = 15.0
"""Pause between two times that a daemon notes its contracts: one with older files may have stopped meanwhile, so that
its contracts left."""


@dataclass(frozen=True, slots=True)
class Orphan:
    """A contract that left, or one that goes another way now and left the keys of before."""

    contract: str
    left: float | None
    """Epoch seconds at which a daemon saw that it is gone; None where it is only turned round."""
    kind: str
    """See plan/claims; empty where it never ran."""
    shapes: tuple[Retired, ...]
    """Whose keys may still be there. Of a contract to MongoDB none: its keys are the application's."""
    outbox: int
    """Changes that did not reach MongoDB."""
    dead_letters: int

    @property
    def has_left(self) -> bool:
        """Whether the contract as a whole is gone."""
        return self.left is not None


def find_orphans(store: RedisStore) -> list[Orphan]:
    """All of this Redis, by name."""
    left = read_left(store)
    found = [_orphan(store, name, left.get(name)) for name in sorted(read_contracts(store))]
    return [orphan for orphan in found if orphan.has_left or orphan.shapes]


def find_orphan(store: RedisStore, contract: str) -> Orphan:
    """One contract, whether it left or not."""
    return _orphan(store, contract, read_left(store).get(contract))


def note_set(store: RedisStore, place: str, contracts: Iterable[str], *, seen: bool = True) -> Iterator[str]:
    """Note which contracts daemons of a place have among their files, which a daemon has `seen` just now or a person
    says. Yields those that have left by that."""
    names = json.dumps(sorted(contracts))
    digest = hashlib.blake2b(names.encode(), digest_size=8).hexdigest()
    args = [place, digest, names, round(time.time()), "seen" if seen else ""]
    left, held = _roster(store, args)
    yield from sorted(left)
    # A contract whose daemon was killed has left as well, though its lease has not run out.
    if dead := [lease for lease in held if is_dead(lease)]:
        yield from sorted(_roster(store, [*args, *dead])[0])


def _roster(store: RedisStore, args: list[Any]) -> tuple[set[str], set[str]]:
    """Contracts that have left now, and leases of others that may have."""
    replies = [node.call("syncd_roster", [node.place + CONTRACTS], args) for node in store.nodes]
    left, held = ({name.decode() for reply in replies for name in reply[at]} for at in (1, 2))
    return left, held


def note_left(store: RedisStore, contracts: Iterable[str]) -> None:
    """Note that no daemon has these contracts among its files any more, where none is left that could see it. One that
    a daemon works on has not left by that."""
    gone = {*contracts}
    records = {name: said for name, said in read_contracts(store).items() if "left" not in said}
    for place in {said["place"] for name, said in records.items() if name in gone}:
        others = {name for name, said in records.items() if said["place"] == place} - gone
        list(note_set(store, place, others, seen=False))


def _orphan(store: RedisStore, contract: str, left: float | None) -> Orphan:
    keys = ControlKeys(contract, place=store.place)
    shapes: dict[tuple[str, str], Retired] = {}
    kinds = set()
    for part in partitions_of(store, contract):
        kind, owned, turned = read_fields(store, part, Fields.KIND, Fields.OWNED, Fields.ORPHANED)
        kind = kind or (MONGO if owned else "")
        kinds.add(kind)
        entries = json.loads(turned or "[]")
        if left is not None and kind == MONGO:
            entries += json.loads(owned or "[]")
        for name, template, redis_type in entries:
            shapes[name, template] = Retired(name, redis_type, KeyTemplate.recorded(template))
    if left is not None:
        shapes |= {(one.name, one.template.text): one for one in _feeds(store, contract)}
    with translated():
        outbox: Any = store.client.xlen(keys.outbox)
    dead = count_dead_letters(store, contract)
    return Orphan(contract, left, "/".join(sorted(kinds - {""})), tuple(shapes.values()), outbox, dead)


def _feeds(store: RedisStore, contract: str) -> Iterator[Retired]:
    """Streams of change feeds, which are claimed, and in no record of keys: no copy may remove them. A claim is new as
    long as the feed has not begun: what is there then is an application's."""
    for name, said in read_claims(store)[1].items():
        rules = TYPE_RULES.get(said.get("type", ""))
        if said["contract"] != contract or said["kind"] != MONGO or said.get("new"):
            continue
        if rules is not None and rules.fed:
            yield Retired(said["projection"], said["type"], KeyTemplate.recorded(name.removeprefix(KEY)))


def keys_of(store: RedisStore, contract: str, shape: Retired) -> Iterator[list[str]]:
    """The keys of a shape, page by page, but for those of a contract that is there."""
    scan = KeyScan(store, ControlKeys(contract, place=store.place))
    _, claims = read_claims(store)
    present = [
        _key_of(KeyTemplate.recorded(name.removeprefix(KEY)), said["kind"])
        for name, said in claims.items()
        # Keys of a contract to MongoDB are an application's, also where it left. Of the others the map says which keys
        # are theirs; the function that removes looks there.
        if name.startswith(KEY) and (said["kind"] != MONGO or (said["by_id"] and not said.get("free")))
    ]
    for page in _pages(scan, shape):
        keys = [key for key in page if not any(is_key(key) for is_key in present)]
        if keys:
            yield [key.decode(errors="surrogateescape") for key in keys]


def _key_of(template: KeyTemplate, kind: str) -> Callable[[bytes], bool]:
    """Whether a key is one of a template. Of an application's keys also those that syncd cannot read stay."""
    return template.fits if kind != MONGO else lambda key: parse_key(template, key) is not None


def _pages(scan: KeyScan, shape: Retired) -> Iterator[Sequence[bytes]]:
    if not shape.template.placeholders:
        yield [shape.template.prefix.encode()]
    elif shape.by_id:
        for keys in scan.keys(shape):
            yield [key for key in keys if parse_key(shape.template, key) is not None]
    else:
        for entries in scan.maps(shape):
            yield [key.encode() for keys in entries.values() for key in keys]


def count_keys(store: RedisStore, orphan: Orphan, shape: Retired, longest_s: float) -> tuple[int, bool]:
    """How many keys of a shape, or members of shared keys, are there that `remove_keys` would take, and whether those
    are all: it ends after a while."""
    count, end = 0, time.monotonic() + longest_s
    for members in (
        Members(store, ControlKeys(orphan.contract, place=store.place)).count(shape)
        if shape.is_shared
        else ()
    ):
        count += members
        if time.monotonic() > end:
            return count, False
    if shape.is_shared:
        return count, True
    control, kind = ControlKeys(orphan.contract, place=store.place), shape.redis_type
    for keys in keys_of(store, orphan.contract, shape):
        raw = [key.encode(errors="surrogateescape") for key in keys]
        for node, some in store.by_node(raw):
            with translated(), node.client.pipeline(transaction=False) as pipe:
                pipe.smismember(control.at(node.place).foreign, some)
                for key in some:
                    pipe.type(key)
                theirs, *kinds = pipe.execute()
            count += sum(found == kind.encode() and not one for found, one in zip(kinds, theirs, strict=True))
        if time.monotonic() > end:
            return count, False
    return count, True


def remove_keys(store: RedisStore, orphan: Orphan, shape: Retired) -> int:
    """Remove the keys of a shape, or what it has in shared keys; how many there were. Raises FencedError where a daemon
    works on the contract."""
    turned = "" if orphan.has_left else "turned"
    if shape.is_shared:
        return _remove_members(store, orphan.contract, shape, turned)
    count = 0
    for keys in keys_of(store, orphan.contract, shape):
        raw = [key.encode(errors="surrogateescape") for key in keys]
        for node, some in store.by_node(raw):
            args: list[Any] = [orphan.contract, shape.redis_type, turned]
            # A function on a node of a cluster cannot declare keys of several slots.
            declared, more = ([], [node.place + CONTRACTS, *some]) if node.place else (some, [])
            count += int(_called(node, orphan.contract, "syncd_remove_keys", declared, args + more)[1])
    return count


def _remove_members(store: RedisStore, contract: str, shape: Retired, turned: str) -> int:
    count = 0
    for node in store.nodes:
        control = ControlKeys(contract, place=node.place)
        name = control.members(shape.name, shape.template.text).encode()
        for page in Members(node, control).in_map(shape):
            count += int(
                _called(node, contract, "syncd_remove_members", [name], [contract, turned, *page])[1]
            )
    return count


def indexes_of(store: RedisStore, contract: str) -> list[str]:
    """The search indexes of a contract. One that a person made under the name of ours since then is none of them."""
    with translated():
        raw: Any = store.client.hgetall(ControlKeys(contract, place=store.place).indexes)
    said = [json.loads(text) for text in raw.values()]
    search = Search(store)
    present = search.names() if said else set()
    found = []
    for name, shape in sorted({(one["name"], one.get("shape", "")) for one in said}):
        seen = search.look(name) if name in present else None
        if seen is not None and shape in ("", seen.shape):
            found.append(name)
    return found


def remove_indexes(store: RedisStore, contract: str) -> list[str]:
    """Drop the search indexes of a contract, without their keys. Returns their names."""
    found = indexes_of(store, contract)
    for name in found:
        Search(store).drop(name)
    return found


def say_as_home(store: RedisStore, contract: str) -> None:
    """Whether the contract has left is what the home of a cluster says. A place that was no node's for a while says
    what was true before."""
    with translated():
        said: Any = store.client.hget(store.place + CONTRACTS, contract)
        for place in store.places[1:] if said else ():
            place.client.hset(place.place + CONTRACTS, contract, said)


def remove_records(store: RedisStore, contract: str) -> int:
    """Remove all that syncd keeps of a contract; how many keys that were. Also at places that are no node's now: one
    that is again would still have its claims."""
    return sum(_remove_records(place, contract) for place in store.places)


def _remove_records(node: RedisStore, contract: str) -> int:
    records: list[bytes] = []
    with translated():
        match = f"{node.place}syncd:{{{contract}}}:*"
        records.extend(node.client.scan_iter(match=match, count=SCAN_COUNT))
    for start in range(0, len(records) or 1, SCAN_COUNT):
        is_last = "1" if start + SCAN_COUNT >= len(records) else ""
        page = records[start : start + SCAN_COUNT]
        _called(node, contract, "syncd_remove_records", page, [contract, is_last, node.place + CONTRACTS])
    return len(records) + (_remove_notes(node, contract) if node.place else 0)


def _remove_notes(node: RedisStore, contract: str) -> int:
    """What is beside streams, see NotedEntries."""
    with translated():
        match = ControlKeys(contract, place="{*}").noted
        return sum(node.client.delete(key) for key in node.client.scan_iter(match=match, count=SCAN_COUNT))


def forget_turned(store: RedisStore, contract: str) -> None:
    """The keys that a contract had before it went another way are gone."""
    for part in partitions_of(store, contract):
        with translated():
            store.client.hdel(part.position, Fields.ORPHANED)


def _called(store: RedisStore, contract: str, name: str, keys: list[bytes], args: list[Any]) -> list[Any]:
    reply = store.call(name, keys, args)
    if reply[0] == b"held":
        holder = reply[1].decode()
        why = (
            f"{shown_holder(holder)} works on contract {contract}"
            if holder
            else f"contract {contract} came back meanwhile"
        )
        raise FencedError(f"{why}; remove its file, or stop that daemon, first", holder)
    return reply
