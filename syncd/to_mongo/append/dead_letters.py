"""Dead letters of entries: each is stored in the same step as the entry's acknowledgement, so that there is one."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NoReturn

from syncd import telemetry
from syncd.plan.to_mongo.append import AppendPlan
from syncd.stores.redis.records.dead_letters import fill_up, new_dead_letter
from syncd.stores.redis.records.position import ControlKeys
from syncd.stores.redis.store import RedisStore, translated
from syncd.to_mongo.append.batch import Refused


class DeadLetters:
    """Of one contract. A dead letter holds the id of its entry, never what the entry says."""

    def __init__(self, redis: RedisStore, plan: AppendPlan) -> None:
        self._redis, self._plan = redis, plan
        self._keys = ControlKeys(plan.name, place=redis.place)

    def park(self, refused: Mapping[str, Refused]) -> int:
        """A dead letter for each entry, acknowledged with it; how many are new. Another daemon's is replaced."""
        if not refused:
            return 0
        if self._redis.place:
            return self._park_away(refused)
        keys = [self._keys.dead, self._keys.dead_by_document, self._plan.stream]
        args = [self._plan.name, self._plan.keep_dead_letters, *self.arguments(refused)]
        reply = self._redis.call("syncd_park", keys, args)
        if reply[0] == b"full":
            self.fill(refused)
        return self.tell(refused, reply[1:])

    def _park_away(self, refused: Mapping[str, Refused]) -> int:
        """The same of a stream that is on another node than dead letters are: first these, then the acknowledgement.
        Where only the first is done, the entry comes again and its dead letter takes the place of that one."""
        name, stream = self._plan.name, self._plan.stream
        client = self._redis.at_key(stream).client
        keys = [self._keys.dead, self._keys.dead_by_document]
        with translated():
            pipe = client.pipeline(transaction=False)
            for entry in refused:
                pipe.xpending_range(stream, name, entry, entry, 1)
            waits = ["1" if found else "" for found in pipe.execute()]
        said = [self._said(entry, why) for entry, why in refused.items()]
        args: list[str | int] = [self._plan.keep_dead_letters]
        for entry, wait, one in zip(refused, waits, said, strict=True):
            args += [entry, wait, len(one), *one]
        reply = self._redis.call("syncd_park_away", keys, args)
        if reply[0] == b"full":
            self.fill(refused)
        with translated():
            client.xack(stream, name, *refused)
        return self.tell(refused, reply[1:])

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
