"""Writes as the arguments of `syncd_apply` (see stores/functions.lua for the form)."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from itertools import chain
from typing import Any

from bson import json_util

from syncd.plan.change import Dead, Drop, Ghost, Patch, Put, Retired, Settled, Write
from syncd.plan.codec import dump_json
from syncd.plan.project import Shape
from syncd.stores.position import ControlKeys
from syncd.stores.times import readable, token_time

REDIS_TYPES = {"hash": "hash", "json": "ReJSON-RL", "string": "string"}
_RELAXED = json_util.RELAXED_JSON_OPTIONS


class Operations:
    """The operations of one call: `keys` and `args` as they go over the wire, `writes` by operation number."""

    def __init__(self, control: ControlKeys, contract: str, version: str) -> None:
        self._control = control
        self._contract, self._version = contract, version
        self.keys: list[str] = []
        self.args: list[Any] = []
        self.writes: list[Write] = []

    def add(self, write: Write) -> None:
        """Append one write, or nothing at all: raises ProjectionError where JSON cannot hold the content."""
        kind = type(write)
        if kind is Patch:
            self._patch(write)  # type: ignore[arg-type]
        elif kind is Put:
            self._put(write)  # type: ignore[arg-type]
        else:
            self._add_other(write)

    def _add_other(self, write: Write) -> None:
        if isinstance(write, Drop):
            self._drop(write)
        elif isinstance(write, Ghost):
            maps = [self._map(shape)[1] for shape in write.maps]
            self._emit(write, "g", REDIS_TYPES[write.shape.type], len(maps), *maps, key=write.key)
        elif isinstance(write, Settled):
            self._emit(write, "y", self._control.letters, len(write.entries), *write.entries)
        elif isinstance(write, Dead):
            self._dead(write)

    def _emit(self, write: Write, *args: Any, key: str | None = None) -> None:
        self.writes.append(write)
        if key is not None:
            self.keys.append(key)
        self.args += args

    def _map(self, shape: Shape | Retired) -> tuple[str, str]:
        name, template = shape.name, shape.template.text
        return self._control.keys_by_id(name, template), self._control.ids_by_key(name, template)

    def _put(self, write: Put) -> None:
        shape, ident, key, content, ttl, time_of_state = write
        if shape.type == "json":
            body: Any = ("j", ttl, dump_json(content))
        elif shape.type == "hash":
            assert isinstance(content, dict)
            body = ["h", ttl, 2 * len(content)]
            for pair in content.items():
                body += pair
        else:
            body = ("s", ttl, content)
        if not shape.by_id:
            self._emit(write, "m", *self._map(shape), ident, time_of_state, key=key)
        self.writes.append(write)
        self.keys.append(key)
        self.args += body

    def _patch(self, write: Patch) -> None:
        shape, _, key, sets, removed, ttl = write
        as_json = shape.type == "json"
        if as_json:
            sets = {f"$.{name}": dump_json(value) for name, value in sets.items()}
            removed = {f"$.{name}" for name in removed}
        self.writes.append(write)
        self.keys.append(key)
        args = self.args
        args += ("J" if as_json else "H", ttl, 2 * len(sets))
        for pair in sets.items():
            args += pair
        args.append(len(removed))
        args += removed

    def _drop(self, write: Drop) -> None:
        shape = write.shape
        if not shape.by_id:
            self._emit(write, "r", *self._map(shape), write.ident)
        elif write.key is not None:
            self._emit(write, "d", REDIS_TYPES[shape.type], key=write.key)

    def _dead(self, write: Dead) -> None:
        fields = {
            "contract": self._contract,
            "version": self._version,
            "projection": write.projection,
            "key": write.key,
            "id": write.ident,
            "reason": write.reason,
            "detail": write.detail,
            "at": str(round(time.time() * 1000)),
            "change": json.dumps(describe(write.change)),
        }
        letter = chain.from_iterable(fields.items())
        self._emit(write, "x", self._control.letters, write.key, 2 * len(fields), *letter)


def describe(event: Mapping[str, Any]) -> dict[str, Any]:
    """A change as a dead letter keeps it: which document, which fields, when; never what they hold.

    A masked field must not reach Redis by this way, and a replay reads the document anyway.
    """
    said: dict[str, Any] = {"op": event.get("operationType", "snapshot")}
    if "documentKey" in event:
        said["id"] = json.loads(json_util.dumps(event["documentKey"]["_id"], json_options=_RELAXED))
    if time_of := event.get("time") or ("_id" in event and token_time(event["_id"])):
        said["time"] = readable(time_of)
    if description := event.get("updateDescription"):
        said["updated"] = list(description.get("updatedFields") or ())
        said["removed"] = list(description.get("removedFields") or ())
    return said
