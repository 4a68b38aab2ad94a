"""What applications do: documents that come, change, move and go; each state has a number of its own."""

from __future__ import annotations

from random import Random
from typing import Any

from tests.simulation.contracts import COLLECTION
from tests.simulation.mongo.oplog import Oplog, described
from tests.simulation.world import World

IDS: tuple[Any, ...] = (1, 2, 3, 4, "a", "b")
PARTS = "abcdefgh"
TEAMS = ("x", "y", "z")
SLUGS = ("red", "green", "blue", "black", "white", "grey", "pink")


class Workload:
    """Writes to MongoDB, with and without a majority at once."""

    def __init__(self, world: World) -> None:
        self._world, self._random = world, world.random
        self._version = 0
        self.lags = self._random.random() < 0.3
        """Whether a majority takes its time."""

    @property
    def _oplog(self) -> Oplog:
        return self._world.mongo.oplog

    def write(self) -> None:
        """One change, or several in one transaction."""
        if self._random.random() < 0.1:
            time, count = self._oplog.next_time(), 2 + self._random.randrange(2)
            index = 0
            for _ in range(count):
                index += self._change(time=time, index=index, is_single=False)
        else:
            self._change()
        if not self.lags or self._random.random() < 0.4:
            self._oplog.commit()

    def noise(self) -> None:
        """Something that is of no collection."""
        self._oplog.note("noop", "", None, None, None)
        self._oplog.commit()

    def _change(self, **options: Any) -> int:
        """Returns how many changes that were."""
        document_id = self._random.choice(IDS)
        before = self._oplog.current.get((COLLECTION, document_id))
        what = self._random.random()
        if before is None:
            op, after = "insert", self._fresh(document_id)
        elif what < 0.2:
            op, after = "delete", None
        elif what < 0.3:
            op, after = "replace", self._fresh(document_id)
        else:
            op, after = "update", self._updated(before)
        description = described(before or {}, after or {}) if op == "update" else None
        is_large = op == "update" and self._random.random() < 0.02
        self._world.note(f"mongo {op} {document_id} {after}")
        self._oplog.note(op, COLLECTION, document_id, after, description, is_large=is_large, **options)
        return 1

    def _fresh(self, document_id: Any) -> dict[str, Any]:
        self._version += 1
        document = {"_id": document_id, "v": self._version, "title": f"t{self._version}", "n": self._n()}
        document["on"] = self._random.random() < 0.7
        document["slug"] = self._free_slug(document_id)
        document["parts"] = self._parts(document_id)
        return document | self._shared()

    def _updated(self, before: dict[str, Any]) -> dict[str, Any]:
        self._version += 1
        after = {**before, "v": self._version, "title": f"t{self._version}"}
        if self._version % 2:
            after["parts"] = self._parts(before["_id"])
        if self._version % 3:
            after |= self._shared()
        what = self._random.random()
        if what < 0.25:
            after["slug"] = self._free_slug(before["_id"])
        elif what < 0.4:
            after["on"] = not before["on"]
        elif what < 0.5:
            after["n"] = self._n()
        elif what < 0.6:
            after.pop("n", None)
        return after

    def _parts(self, document_id: Any) -> list[dict[str, Any]]:
        """Elements that no other document has; they come by no random number of the schedule's."""
        others = [d for other, d in self._documents() if other != document_id]
        taken = {part["id"] for other in others for part in other["parts"]}
        free = [name for name in PARTS if name not in taken]
        chosen = Random(self._version).sample(free, min(len(free), self._version % 4))
        return [{"id": name, "text": f"x{self._version % 3}"} for name in chosen]

    def _documents(self) -> list[tuple[Any, dict[str, Any]]]:
        """Those of the contract's collection, with their `_id`."""
        current = self._oplog.current.items()
        return [(ident, document) for (name, ident), document in current if name == COLLECTION]

    def _shared(self) -> dict[str, Any]:
        """What other documents have as well; by no random number of the schedule's either."""
        draw = Random(self._version)
        return {"team": draw.choice(TEAMS), "tags": draw.sample(TEAMS, draw.randrange(3))}

    def _n(self) -> Any:
        """Now and then what no integer is."""
        return "odd" if self._random.random() < 0.05 else self._version

    def _free_slug(self, document_id: Any) -> str:
        taken = {d["slug"] for other, d in self._documents() if other != document_id}
        # What only the primary has given up may still be another's where that is taken back.
        free = [slug for slug in SLUGS if slug not in taken]
        return self._random.choice(free)
