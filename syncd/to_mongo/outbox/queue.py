"""The outbox of a contract, one way or both: a stream in which the application notes the keys that it changed.

It is a queue of syncd's own. It is read from its beginning, and `StateStore.done` takes away what is in MongoDB, in one
step with what has to be remembered of it. So there is no group and no cursor that could be lost.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, NamedTuple

from syncd import telemetry
from syncd.errors import FatalError
from syncd.plan.base import ContractPlan
from syncd.plan.to_mongo.state import COLON, StatePlan
from syncd.stores.redis.records.position import ControlKeys
from syncd.stores.redis.store import RedisStore, translated
from syncd.to_mongo.append.batch import Refused
from syncd.to_mongo.append.group import Backlog
from syncd.to_mongo.outbox.functions import OutboxFunctions
from syncd.to_mongo.outbox.status import read_backlog
from syncd.to_mongo.state.positions import of_entry
from syncd.to_mongo.state.store import StateStore

MOST_ENTRIES = 2000
"""Of one read. The keys that they name are read in smaller parts: behind those the application waits, and an entry
costs Redis next to nothing."""
_NO_KEY = Refused("foreign_key", "the entry has no field `key`")


class Entry(NamedTuple):
    """One entry of the outbox."""

    id: str
    key: bytes | None
    deletes: bool
    member: bytes | None = None
    """The one that changed, where the entry names it."""


class OutboxQueue:
    """Of one contract, called by the thread that works for it under the lease."""

    def __init__(self, redis: RedisStore, plan: ContractPlan, store: StateStore) -> None:
        self._redis, self._plan, self._store = redis, plan, store
        self._control = ControlKeys(plan.name)
        self._functions = OutboxFunctions(redis)
        self.name = self._control.outbox
        """The stream."""

    def begin(self) -> None:
        """Set for the functions how many entries may wait, and whether entries name members. Nothing is written where
        it is set: memory may be full."""
        self._say(self._control.outbox_max, self._plan.contract.sync.outbox_max)
        names_members = isinstance(self._plan, StatePlan) and self._plan.of_members is not None
        self._say(self._control.outbox_members, 1 if names_members else None)

    def _say(self, name: str, wanted: int | None) -> None:
        client = self._redis.client
        with translated():
            present: Any = client.get(name)
            if wanted is None and present is not None:
                client.delete(name)
            elif wanted is not None and present != str(wanted).encode():
                client.set(name, wanted)

    def take(self, wait_s: float = 0.0, *, behind: str = "0-0") -> list[Entry]:
        """The first entries, or those behind one, which stay there. Waits so long for one where there is none."""
        block = ["BLOCK", max(1, round(wait_s * 1000))] if wait_s else []
        try:
            with translated():
                found: Any = self._redis.client.execute_command(
                    "XREAD", "COUNT", MOST_ENTRIES, *block, "STREAMS", self.name, behind
                )
        except FatalError as error:
            if "WRONGTYPE" not in str(error):
                raise
            what = f"{self.name} is no stream; that key is syncd's: rename what is there"
            raise FatalError("redis", what) from error
        return [
            Entry(entry.decode(), said.get(b"key"), said.get(b"op") == b"del", said.get(b"member"))
            for entry, said in (found[0][1] if found else ())
        ]

    def keep(self) -> None:
        """Once a second: the functions stay loaded, and entries that another client removed are reported."""
        self._functions.ensure(self._plan.name)
        lost, is_another = self._store.lost()
        if is_another:
            telemetry.outbox_replaced(self._plan.name)
        elif lost:
            telemetry.entries_trimmed(self._plan.name, self.name, lost)

    def backlog(self, done: str = "") -> Backlog:
        """All entries wait. `done` is the last one of those that are done."""
        return read_backlog(self._redis, self.name, done)


class Noted(NamedTuple):
    """What entries name, each once, with the position of the last deletion of its key that they note, or ""."""

    names: dict[bytes, str]
    """What becomes a document."""
    whole: dict[bytes, str]
    """Keys of which any member may have changed, where members become documents."""
    emptied: dict[bytes, str]
    """Other keys whose last member went: of all that were in it before only that one may be named as deleted."""
    keys: set[bytes]
    """All keys."""


def noted(entries: Iterable[Entry], plan: StatePlan) -> Noted:
    """Of entries in their order."""
    names: dict[bytes, bytes] = {}
    whole: dict[bytes, bytes] = {}
    deleted: dict[bytes, str] = {}
    for entry in entries:
        if entry.key is None:
            continue
        if plan.of_members is None:
            names[entry.key] = entry.key
        elif entry.member is None:
            whole[entry.key] = entry.key
        else:
            names[COLON.join((entry.key, entry.member))] = entry.key
        if entry.deletes:
            deleted[entry.key] = of_entry(entry.id)
    emptied = {} if plan.of_members is None else {key: at for key, at in deleted.items() if key not in whole}
    return Noted(_with(names, deleted), _with(whole, deleted), emptied, {*names.values(), *whole})


def _with(names: dict[bytes, bytes], deleted: dict[bytes, str]) -> dict[bytes, str]:
    return {name: deleted.get(key, "") for name, key in names.items()}


def without_key(entries: Iterable[Entry]) -> dict[bytes, Refused]:
    """Those that name no key, by what their dead letters are called."""
    return {f"entry {entry.id}".encode(): _NO_KEY for entry in entries if entry.key is None}
