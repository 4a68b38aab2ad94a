"""Two processes that write at full speed. Each id, and each slug, belongs to one of them, so that what MongoDB holds
in the end is known to be the highest version that it acknowledged.

A write whose outcome is unknown may still arrive late: every update, replacement and deletion asks for an older
version than its own, so that it changes nothing then.
"""

from __future__ import annotations

import multiprocessing
import os
import random
import signal
import time
from collections import Counter
from multiprocessing.connection import Connection
from multiprocessing.synchronize import Event
from typing import Any

from pymongo import DeleteOne, InsertOne, MongoClient, ReplaceOne, UpdateOne, WriteConcern
from pymongo.errors import PyMongoError

from tests.soak.contracts import SHORTS, TOKEN
from tests.soak.documents import LIVE, POOL, SLUGS, WRITERS, Document, fresh, identity, owner, slug, update
from tests.soak.projection import key_text

FIRST_VERSION = 10_000
MOST_OPERATIONS = 30
"""In one ordered bulk."""
PAUSE_S = 0.2
"""After an error."""
STOP_S = 30.0

Operation = InsertOne[Document] | UpdateOne | ReplaceOne[Document] | DeleteOne


class Mirror:
    """Which documents of one collection live, of those that belong to one writer, and at which slug."""

    def __init__(self, short: str, writer: int) -> None:
        self.short = short
        self.mine = [n for n in range(POOL) if owner(n) == writer]
        self.index = {key_text(identity(short, n)): n for n in self.mine}
        self.slugs = [slug(n) for n in range(SLUGS) if owner(n) == writer]
        self.at: dict[int, str] = {n: slug(n) for n in self.mine if n < LIVE}

    def learn(self, documents: list[Document]) -> None:
        """After an error: what is really there."""
        there = {self.index[text]: d for d in documents if (text := key_text(d["_id"])) in self.index}
        self.at = {n: d.get("slug", slug(n)) for n, d in there.items()}

    def free_slug(self, chance: random.Random) -> str:
        taken = set(self.at.values())
        return chance.choice([word for word in self.slugs if word not in taken])


class Writer:
    """One process's work."""

    def __init__(self, number: int, seed: int, client: MongoClient[Document]) -> None:
        self.number = number
        self.chance = random.Random(f"{seed}/{number}")
        self.database = client.get_database(TOKEN, write_concern=WriteConcern("majority"))
        self.mirrors = [Mirror(short, number) for short in SHORTS]
        self.count = 0
        self.done: Counter[str] = Counter()
        self.errors: Counter[str] = Counter()

    def version(self) -> int:
        """Higher than all before, and never given by the other writer."""
        self.count += 1
        return FIRST_VERSION + self.count * 2 + self.number

    def write(self) -> None:
        """One bulk into one collection."""
        mirror = self.chance.choice(self.mirrors)
        operations: list[Operation] = []
        said: Counter[str] = Counter()
        for _ in range(self.chance.randint(1, MOST_OPERATIONS)):
            self._one(mirror, operations, said)
        if not operations:
            return
        try:
            self.database[mirror.short].bulk_write(operations)
        except PyMongoError as error:
            self.errors[type(error).__name__] += 1
            self._look(mirror)
        else:
            self.done += said

    def _look(self, mirror: Mirror) -> None:
        """Again and again until there is an answer, or none is wanted any more."""
        for _ in range(round(STOP_S / PAUSE_S)):
            time.sleep(PAUSE_S)
            try:
                return mirror.learn(list(self.database[mirror.short].find({}, {"slug": 1})))
            except PyMongoError as error:
                self.errors[type(error).__name__] += 1
        return None

    def _one(self, mirror: Mirror, operations: list[Operation], said: Counter[str]) -> None:
        n = self.chance.choice(mirror.mine)
        if n not in mirror.at:
            if self.chance.random() < 0.8:
                self._insert(mirror, n, mirror.free_slug(self.chance), operations, said)
            return
        way = self.chance.random()
        if way < 0.12:
            self._delete(mirror, n, operations, said)
        elif way < 0.25:
            operations.append(self._replacement(mirror, n))
            said["replace"] += 1
        elif way < 0.5 and mirror.short == "page":
            self._move(mirror, n, operations, said)
        else:
            self._update(mirror, n, operations, said)

    def _insert(
        self, mirror: Mirror, n: int, at: str, operations: list[Operation], said: Counter[str]
    ) -> None:
        operations.append(InsertOne(fresh(self.chance, mirror.short, n, self.version(), at)))
        mirror.at[n] = at
        said["insert"] += 1

    def _delete(self, mirror: Mirror, n: int, operations: list[Operation], said: Counter[str]) -> None:
        operations.append(DeleteOne(self._which(mirror, n, self.version())))
        del mirror.at[n]
        said["delete"] += 1

    def _replacement(self, mirror: Mirror, n: int) -> Operation:
        v = self.version()
        return ReplaceOne(self._which(mirror, n, v), fresh(self.chance, mirror.short, n, v, mirror.at[n]))

    def _update(
        self, mirror: Mirror, n: int, operations: list[Operation], said: Counter[str], **also: Any
    ) -> None:
        v = self.version()
        change = update(self.chance, v)
        change["$set"] = {**change["$set"], **also}
        operations.append(UpdateOne(self._which(mirror, n, v), change))
        said["update"] += 1

    def _move(self, mirror: Mirror, n: int, operations: list[Operation], said: Counter[str]) -> None:
        """To a free slug, or to that of another document, which goes, and perhaps comes back at the old one."""
        old, other = mirror.at[n], self.chance.choice(list(mirror.at))
        if other == n or self.chance.random() < 0.5:
            mirror.at[n] = mirror.free_slug(self.chance)
            return self._update(mirror, n, operations, said, slug=mirror.at[n])
        wanted = mirror.at[other]
        self._delete(mirror, other, operations, said)
        mirror.at[n] = wanted
        self._update(mirror, n, operations, said, slug=wanted)
        if self.chance.random() < 0.6:
            self._insert(mirror, other, old, operations, said)
        said["swap"] += 1
        return None

    @staticmethod
    def _which(mirror: Mirror, n: int, v: int) -> Document:
        return {"_id": identity(mirror.short, n), "v": {"$lt": v}}


def run(number: int, seed: int, uri: str, halt: Event, report: Connection) -> None:
    """The process: writes until `halt`, or until its parent is gone, then sends what it did."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent says when it is over
    parent = os.getppid()
    with MongoClient[Document](uri, serverSelectionTimeoutMS=10_000, socketTimeoutMS=20_000) as client:
        writer = Writer(number, seed, client)
        while not halt.is_set() and os.getppid() == parent:
            writer.write()
        report.send(
            {"written": dict(writer.done), "errors": dict(writer.errors), "version": writer.version()}
        )


class Writers:
    """Both processes. `stop` gives what they did; as a context manager none of them stays behind."""

    def __init__(self, uri: str, seed: int) -> None:
        context = multiprocessing.get_context("spawn")  # a forked child would inherit sockets and threads
        self._halt = context.Event()
        self._ends = []
        self._processes = []
        for number in range(WRITERS):
            mine, theirs = context.Pipe(duplex=False)
            process = context.Process(target=run, args=(number, seed, uri, self._halt, theirs), daemon=True)
            process.start()
            theirs.close()
            self._ends.append(mine)
            self._processes.append(process)

    @property
    def alive(self) -> bool:
        return all(process.is_alive() for process in self._processes)

    def stop(self) -> list[dict[str, Any]]:
        """What each did; raises EOFError where one ended before."""
        self._halt.set()
        reports = []
        for end in self._ends:
            if not end.poll(STOP_S * 2):
                raise TimeoutError("a writer does not stop")
            reports.append(end.recv())
        return reports

    def __enter__(self) -> Writers:
        return self

    def __exit__(self, *error: object) -> None:
        self._halt.set()
        for process in self._processes:
            process.join(2)
            process.kill()
            process.join()
