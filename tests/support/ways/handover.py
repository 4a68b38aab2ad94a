"""Contracts that change hands: sets of contract files, daemons that read them, and what both stores must then hold.

What a key should be is worked out here by rules of its own; nothing of that comes from syncd.
"""

from __future__ import annotations

import json
import re
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from pymongo import MongoClient
from redis import Redis

from tests.support.check import Value, wait_until
from tests.support.daemon import Daemon
from tests.support.servers.shared import connect

DATABASE = "faults"
REST_S = 1.0
"""How long everything must stay as it should be: what removes keys late removes them by then."""
POLL_S = 0.1
"""A read of everything costs more than one of a single fact."""
TIMEOUT = 40.0
LEASE_S = 2

Document = dict[str, Any]
Contract = dict[str, Any]
Contracts = Mapping[str, Contract]
Content = dict[str, Any]

FIELDS: Document = {"n": {"from": "n", "type": "int"}, "text": "text"}
KEYSPACE: Document = {"direction": "redis_to_mongo", "capture": "keyspace", "on_delete": "delete"}
OUTBOX: Document = {"direction": "redis_to_mongo", "capture": "outbox", "on_delete": "delete"}
BOTH: Document = {
    "direction": "both",
    "capture": "outbox",
    "on_conflict": "merge_fields",
    "on_delete": "delete",
}
BOTH_KEYSPACE: Document = {**BOTH, "capture": "keyspace"}
FROM_KEYS: dict[str, Document] = {
    "keyspace": KEYSPACE, "outbox": OUTBOX, "both, outbox": BOTH, "both, keyspace": BOTH_KEYSPACE,
}  # fmt: skip

_PLACEHOLDER = re.compile(r"\{([^{}]+)\}")


def shape(key: str, *, name: str = "card", type: str = "hash", **more: Any) -> Document:
    """A projection with its whole key template."""
    return {"projection": name, "type": type, "key": key, "fields": FIELDS, **more}


def contract(collection: str, *shapes: Document, sync: Document | None = None, **mongo: Any) -> Contract:
    """All of a contract but its name."""
    said = {"mongo": {"collection": f"{DATABASE}.{collection}", **mongo}, "redis": list(shapes)}
    return said if sync is None else {**said, "sync": sync}


def until(look: Callable[[], Value], timeout: float, message: Callable[[], object]) -> Value:
    """`wait_until`, at a slower pace."""

    def step() -> Value:
        answer = look()
        if not answer:
            time.sleep(POLL_S)
        return answer

    return wait_until(step, timeout, message)


class Files:
    """A directory of contracts. A set is written as one edit: what is new before what changed, and then what went is
    removed, so that a daemon that reads in between finds two owners of a key and keeps the old set."""

    def __init__(self, path: Path) -> None:
        path.mkdir(parents=True, exist_ok=True)
        self.path = path
        self.contracts: dict[str, Contract] = {}

    def write(self, contracts: Contracts) -> None:
        old, self.contracts = self.contracts, dict(contracts)
        for name in sorted(contracts, key=lambda name: name in old):
            if contracts[name] != old.get(name):
                self._write(name, contracts[name])
        for name in old.keys() - contracts.keys():
            (self.path / f"{name}.yaml").unlink()

    def _write(self, name: str, said: Contract) -> None:
        whole = {
            "apiVersion": "syncd/v1",
            "kind": "SyncContract",
            "metadata": {"name": name, "version": "1.0.0", "owner": "tests"},
            **said,
        }
        beside = self.path.parent / f"{self.path.name}-{name}.new"
        beside.write_text(json.dumps(whole, indent=2))
        beside.replace(self.path / f"{name}.yaml")


class Node:
    """A daemon with a contract directory of its own."""

    def __init__(self, folder: Path, mongo_uri: str, redis_url: str, **env: str) -> None:
        self.files = Files(folder)
        env = {"SYNCD_LEASE_TTL": str(LEASE_S), **env}
        self.daemon = Daemon(folder, mongo_uri=mongo_uri, redis_url=redis_url, env=env)

    def start(self, contracts: Contracts | None = None) -> None:
        if contracts is not None:
            self.files.write(contracts)
        self.daemon.start()

    def edit(self, contracts: Contracts) -> None:
        """Returns when the daemon has taken the set."""
        before = self._reloads()
        self.files.write(contracts)
        until(
            lambda: self._reloads() > before, TIMEOUT, lambda: f"a reload; {self.daemon.process.log_tail()}"
        )

    def _reloads(self) -> int:
        return len(self.daemon.logs(event="contracts reloaded"))

    def lanes(self) -> dict[str, list[dict[str, Any]]]:
        """By contract; empty while it does not answer."""
        code, body = self.daemon.get("/status")
        found: dict[str, list[dict[str, Any]]] = {}
        for lane in json.loads(body)["lanes"] if code == 200 else []:
            found.setdefault(lane["contract"], []).append(lane)
        return found

    def states(self, name: str) -> set[str]:
        return {str(lane["state"]) for lane in self.lanes().get(name, [])}

    def wait_state(self, name: str, state: str, timeout: float = TIMEOUT) -> dict[str, Any]:
        """Of all lanes of a contract; what the first tells."""
        until(lambda: self.states(name) == {state}, timeout, lambda: f"{name} {state}; {self.told()}")
        return self.lanes()[name][0]

    def serves(self) -> bool:
        """Whether it runs exactly its set, all of it live; of several workers one may stand by for another."""
        lanes = {name: {lane["state"] for lane in found} for name, found in self.lanes().items()}
        return lanes.keys() == self.files.contracts.keys() and all(
            "live" in states and states <= {"live", "standby"} for states in lanes.values()
        )

    def wait_serves(self, timeout: float = TIMEOUT) -> None:
        until(self.serves, timeout, lambda: f"all of {sorted(self.files.contracts)} live; {self.told()}")

    def wait_asks(self, redis: Redis, times: int = 2) -> None:
        """Until each of its lanes has asked for its lease so often from here on: it is at work, and stands by."""
        until(self.lanes, TIMEOUT, self.told)
        owner = json.loads(self.daemon.get("/status")[1])["owner"]
        wanted, asked = self.files.contracts.keys(), Counter[str]()
        end = time.monotonic() + TIMEOUT
        with redis.monitor() as monitor:
            while any(asked[name] < times for name in wanted):
                said = monitor.next_command()["command"]
                if "syncd_lease" in said and owner in said:
                    asked.update(name for name in wanted if f"syncd:{{{name}}}:lease" in said)
                assert time.monotonic() < end, f"asked {dict(asked)}; {self.told()}"

    def told(self) -> str:
        lanes = [lane for found in self.lanes().values() for lane in found]
        said = [f"{lane['contract']}: {lane['state']} {lane['complaint']} {lane['error']}" for lane in lanes]
        return f"{said}; {self.daemon.process.log_tail()}"


class World:
    """Both stores, and what the documents must be: `documents`, by collection and `_id`, changes with every write
    that a test makes."""

    def __init__(self, mongo: MongoClient[Document], redis: Redis) -> None:
        self.mongo, self.redis = mongo, redis
        self.documents: dict[str, dict[Any, Document]] = {}
        self.without: set[str] = set()
        """Keys that are not there, though their documents are: these were not deleted, and the keys not written."""

    def fill(self, collection: str, ids: Iterable[int], n: int = 0, **more: Any) -> None:
        documents = [document(number, n, **more) for number in ids]
        self.mongo[DATABASE][collection].insert_many(documents)
        self.documents.setdefault(collection, {}).update({said["_id"]: said for said in documents})

    def set(self, collection: str, ids: Iterable[int], **values: Any) -> None:
        """Changes fields of documents, in MongoDB."""
        wanted = list(ids)
        self.mongo[DATABASE][collection].update_many({"_id": {"$in": wanted}}, {"$set": values})
        for number in wanted:
            self.documents[collection][number] |= values

    def delete(self, collection: str, ids: Iterable[int]) -> None:
        wanted = list(ids)
        self.mongo[DATABASE][collection].delete_many({"_id": {"$in": wanted}})
        for number in wanted:
            del self.documents[collection][number]

    def put(self, name: str, said: Contract, ids: Iterable[int], n: int) -> None:
        """What an application does with keys of a contract from Redis: writes them, whole, in one step with a note."""
        template, collection = _only_key(said), _collection(said)
        pipe = self.redis.pipeline(transaction=True)
        for number in ids:
            new = document(number, n)
            key = template.replace("{_id}", str(number))
            pipe.hset(key, mapping={"n": n, "text": new["text"]})
            note(pipe, name, said, key)
            old = self.documents.setdefault(collection, {}).get(number, {"_id": number})
            self.documents[collection][number] = {**old, "n": n, "text": new["text"]}
        pipe.execute()

    def remove(self, name: str, said: Contract, ids: Iterable[int]) -> None:
        """What an application does that no longer wants keys of a contract from Redis: their documents go, too."""
        template = _only_key(said)
        pipe = self.redis.pipeline(transaction=True)
        for number in ids:
            key = template.replace("{_id}", str(number))
            pipe.delete(key)
            note(pipe, name, said, key, op="del")
            del self.documents[_collection(said)][number]
        pipe.execute()

    def differences(self, contracts: Contracts, left: Contracts | None = None) -> list[str]:
        """What is not as it should be under a set; `left`: contracts that went, whose keys are to be there too."""
        return [
            *self._different_documents(),
            *compared("key", self.wanted({**(left or {}), **contracts}), self.keys()),
        ]

    def wait_rest(
        self, contracts: Contracts, left: Contracts | None = None, timeout: float = TIMEOUT
    ) -> None:
        """Until everything is as it should be; and so it must stay."""
        until(
            lambda: not self.differences(contracts, left),
            timeout,
            lambda: "; ".join(self.differences(contracts, left)),
        )
        time.sleep(REST_S)
        assert not (found := self.differences(contracts, left)), f"later: {found}"

    def wanted(self, contracts: Contracts) -> dict[str, Content]:
        """Every key that should be there, and what it should hold."""
        found: dict[str, Content] = {}
        for said in contracts.values():
            where = said["mongo"].get("filter", {})
            for projected in said["redis"]:
                for one in self.documents.get(_collection(said), {}).values():
                    if where.items() <= one.items():
                        found[_rendered(projected["key"], one)] = content(projected, one)
        return {key: said for key, said in found.items() if key not in self.without}

    def keys(self) -> dict[str, Content]:
        """Every key that is there but those of syncd itself, and what it holds."""
        names = sorted(
            key.decode() for key in self.redis.scan_iter(count=1000) if not key.startswith(b"syncd:")
        )
        kinds = self._piped(("TYPE", name) for name in names)
        asked = {b"hash": "HGETALL", b"ReJSON-RL": "JSON.GET", b"string": "GET"}
        replies = self._piped(
            (asked.get(kind, "TYPE"), name) for name, kind in zip(names, kinds, strict=True)
        )
        return {
            name: _understood(kind, reply) for name, kind, reply in zip(names, kinds, replies, strict=True)
        }

    def _piped(self, commands: Iterator[tuple[str, str]]) -> list[Any]:
        pipe = self.redis.pipeline(transaction=False)
        for command in commands:
            pipe.execute_command(*command)
        return list(pipe.execute(raise_on_error=False))

    def _different_documents(self) -> Iterator[str]:
        for collection, wanted in self.documents.items():
            found = {one["_id"]: one for one in self.mongo[DATABASE][collection].find({}, {"_syncd": 0})}
            yield from compared(f"document of {collection}", wanted, found)


def document(number: int, n: int = 0, **more: Any) -> Document:
    return {"_id": number, "n": n, "text": f"version {n} of {number}", "slug": f"s{number}", **more}


def content(projected: Document, one: Document) -> Content:
    """What a key holds, by the type of its projection; of a hash everything is text."""
    values = {
        name: one[said["from"] if isinstance(said, dict) else said]
        for name, said in projected["fields"].items()
    }
    return {name: str(value) for name, value in values.items()} if projected["type"] == "hash" else values


def _rendered(template: str, one: Document) -> str:
    return _PLACEHOLDER.sub(lambda match: str(one[match[1]]), template)


def _understood(kind: bytes, reply: Any) -> Content:
    if kind == b"hash":
        return (
            {name.decode(): value.decode() for name, value in reply.items()}
            if isinstance(reply, dict)
            else {}
        )
    if kind in (b"ReJSON-RL", b"string") and reply is not None:
        said: Content = json.loads(reply)
        return said
    return {"?": f"{kind!r} {reply!r}"}


def compared(what: str, wanted: Mapping[Any, Any], found: Mapping[Any, Any]) -> list[str]:
    missing, extra = sorted(wanted.keys() - found.keys()), sorted(found.keys() - wanted.keys())
    wrong = sorted(key for key in wanted.keys() & found.keys() if wanted[key] != found[key])
    said = [
        f"{len(keys)} of {len(wanted)} times a {what} {how}: {keys[:5]}"
        for how, keys in (("is missing", missing), ("too many", extra))
        if keys
    ]
    if wrong:
        examples = [(key, wanted[key], found[key]) for key in wrong[:2]]
        said.append(f"{len(wrong)} of {len(wanted)} times a {what} differs (should, is): {examples}")
    return said


def _collection(said: Contract) -> str:
    return str(said["mongo"]["collection"]).removeprefix(f"{DATABASE}.")


def _only_key(said: Contract) -> str:
    (projected,) = said["redis"]
    return str(projected["key"])


def note(pipe: Any, name: str, said: Contract, key: str, **more: str) -> None:
    if said["sync"]["capture"] == "outbox":
        pipe.xadd(f"syncd:{{{name}}}:outbox", {"key": key, **more})


@contextmanager
def world(mongo_uri: str, redis_url: str) -> Iterator[World]:
    """Both stores, emptied."""
    with MongoClient[Document](mongo_uri, w="majority") as mongo, connect(redis_url) as redis:
        mongo.drop_database(DATABASE)
        redis.flushall()
        yield World(mongo, redis)
