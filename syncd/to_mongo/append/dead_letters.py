"""Dead letters of entries: each is stored in the same step as the entry's acknowledgement, so that there is one."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import NoReturn

from syncd import telemetry
from syncd.plan.to_mongo.append import AppendPlan
from syncd.stores.redis.records.dead_letters import count_dead_letters, fill_up, new_dead_letter
from syncd.stores.redis.records.lease import Lease
from syncd.stores.redis.records.lost.noted_entries import NotedEntries, entry_of
from syncd.stores.redis.records.position import ControlKeys
from syncd.stores.redis.store import RedisStore
from syncd.to_mongo.append.batch import Refused


class DeadLetters:
    """Of one contract. A dead letter holds the id of its entry, never what the entry says."""

    def __init__(self, redis: RedisStore, plan: AppendPlan) -> None:
        self._redis, self._plan = redis, plan
        self._keys = ControlKeys(plan.name, place=redis.place)
        self._noted = NotedEntries(redis, plan.name, plan.stream) if redis.place else None

    def park(self, refused: Mapping[str, Refused]) -> int:
        """A dead letter for each entry, acknowledged with it; how many are new. Another daemon's is replaced."""
        if not refused:
            return 0
        if self._noted:
            return self._park_away(refused, self._noted)
        keys = [self._keys.dead, self._keys.dead_by_document, self._plan.stream]
        args = [self._plan.name, self._plan.keep_dead_letters, *self.arguments(refused)]
        reply = self._redis.call("syncd_park", keys, args)
        if reply[0] == b"full":
            self.fill(refused)
        return self.tell(refused, reply[1:])

    def _park_away(self, refused: Mapping[str, Refused], noted: NotedEntries) -> int:
        """The same of a stream that is on another node than dead letters are: first these, then the acknowledgement.
        Where only the first is done, the entry comes again and its dead letter takes the place of that one."""
        keys, names = [self._keys.dead, self._keys.dead_by_document], [*map(self._name, refused)]
        waiting = noted.waiting(names)
        args = [self._plan.keep_dead_letters, *self._arguments_away(refused, waiting)]
        reply = self._redis.call("syncd_park_away", keys, args)
        if reply[0] == b"full":
            self.fill(refused)
        _, count, dropped, *new = reply
        stored = [name for name, waits in zip(names, waiting, strict=True) if waits]
        noted.acknowledge(names, stored, dropped)
        return self.tell(refused, [count, *new])

    def park_ahead(
        self,
        refused: Mapping[str, Refused],
        done: Collection[str],
        keep: int,
        lease: Lease,
        noted: NotedEntries,
    ) -> tuple[list[str], list[bytes], list[bytes]]:
        """The same by the daemon that has the lease of the home, without the acknowledgement. What is `done` has no
        dead letter any more. Returns names that are to be noted, those that are not any more, and what `tell` takes."""
        if not refused and not (done and count_dead_letters(self._redis, self._plan.name)):
            return [], [], [b"0"]
        names = [*map(self._name, refused)]
        waiting = noted.waiting(names) if names else []
        args: list[str | int] = [len(done), *map(self._name, done), keep]
        args += self._arguments_away(refused, waiting)
        reply = lease.call("syncd_park_ahead", [self._keys.dead, self._keys.dead_by_document], args)
        if reply[0] == b"full":
            self.fill(refused)
        _, count, dropped, *new = reply
        return [name for name, waits in zip(names, waiting, strict=True) if waits], dropped, [count, *new]

    def _arguments_away(self, refused: Mapping[str, Refused], waiting: Sequence[bool]) -> list[str | int]:
        args: list[str | int] = []
        for (entry, why), waits in zip(refused.items(), waiting, strict=True):
            said = self._said(entry, why)
            args += [entry, "1" if waits else "", len(said), *said]
        return args

    def _name(self, entry: str) -> str:
        return f"{self._plan.projection} {entry}"

    def are_fewer(self) -> bool:
        """Whether fewer wait than are noted beside the stream."""
        noted = self._noted.count() if self._noted else 0
        return noted > 0 and noted > count_dead_letters(self._redis, self._plan.name)

    def restore(self, deliver: Callable[[Collection[str]], Collection[str]]) -> None:
        """Have entries delivered again whose dead letters went with a failover of the home. `deliver` says which of
        them have one again."""
        if self._noted is None or not self._noted.count():
            return
        for names in self._noted.lost():
            telemetry.dead_letters_lost(self._plan.name, len(names))
            left = {*map(self._name, deliver([*map(entry_of, names)]))}
            self._noted.forget([name for name in names if name not in left])

    def fill(self, refused: Mapping[str, Refused]) -> NoReturn:
        """Park those for which there is room; then the run ends."""
        plan, named = self._plan, {f"{self._plan.projection} {one[0]}": one for one in refused.items()}
        fill_up(self._redis, plan.name, plan.keep_dead_letters, named, lambda some: self.park(dict(some)))

    def arguments(self, refused: Mapping[str, Refused]) -> list[str | int]:
        """The dead letters, as the functions take them."""
        args: list[str | int] = []
        for entry, why in refused.items():
            said = self._said(entry, why)
            args += [entry, len(said), *said]
        return args

    def tell(self, refused: Mapping[str, Refused], stored: list[bytes]) -> int:
        """Log and count the dead letters that are new, by the reply of a function: how many were dropped, and the
        entries of the new ones. Returns how many are new."""
        dropped, *entries = stored
        new = {entry.decode() for entry in entries}
        telemetry.dead_letters_dropped(self._plan.name, int(dropped))
        parked = [
            (self._plan.projection, why.reason, why.detail) for entry, why in refused.items() if entry in new
        ]
        telemetry.dead_letters_stored(self._plan.name, parked)
        return len(new)

    def _said(self, entry: str, why: Refused) -> list[str]:
        plan = self._plan
        return new_dead_letter(
            plan.name,
            plan.contract.metadata.version,
            projection=plan.projection,
            key=plan.document_id(entry),
            ident=entry,
            why=why,
            change={"stream": plan.stream, "entry": entry},
        )
