"""Search indexes: made before the snapshot, behind an alias with a generation, rebuilt beside the old one."""

from __future__ import annotations

import hashlib
import json
import time
from dataclasses import dataclass
from typing import Any

from redis.exceptions import ResponseError

from syncd import telemetry
from syncd.contract.indexes import Index, IndexField, TagField, VectorField, separator_of
from syncd.contract.json_path import default_path
from syncd.errors import TransientError
from syncd.plan.compile import Plan
from syncd.plan.project import Shape
from syncd.stores.layout import others_have_copied
from syncd.stores.position import ControlKeys
from syncd.stores.redis import RedisStore, translated

GRACE_S = 300.0
"""How long an old generation outlives the swap: RedisVL resolves an alias once, when an application opens it."""

_FLAGS = (
    ("index_missing", "INDEXMISSING"), ("index_empty", "INDEXEMPTY"), ("no_stem", "NOSTEM"),
    ("withsuffixtrie", "WITHSUFFIXTRIE"), ("case_sensitive", "CASESENSITIVE"), ("sortable", "SORTABLE"),
    ("unf", "UNF"), ("no_index", "NOINDEX"),
)  # fmt: skip
_VECTOR_OPTIONS = ("initial_cap", "block_size", "m", "ef_construction", "ef_runtime", "epsilon")


@dataclass(frozen=True, slots=True)
class _Generation:
    """A real index behind an alias."""

    number: int
    name: str
    fingerprint: str

    def encoded(self) -> str:
        return json.dumps({"generation": self.number, "name": self.name, "fingerprint": self.fingerprint})


class Indexes:
    """All indexes of one contract. `create` before a snapshot, `check` now and then.

    Of several partitions the first alone has anything to do here.
    """

    def __init__(self, plan: Plan, store: RedisStore, control: ControlKeys) -> None:
        self._store, self._contract, self._registry = store, plan.name, control.indexes
        self._control, self._fingerprint = control, plan.fingerprint
        self._wanted = {
            projection.index.name: (shape, projection.index)
            for shape, projection in zip(plan.shapes, plan.contract.redis, strict=True)
            if projection.index is not None
        }
        self._serving: dict[str, _Generation] = {}
        self._building: dict[str, _Generation] = {}
        self._retired: dict[str, float] = {}
        self._failures: dict[str, int] = {}

    @property
    def is_building(self) -> bool:
        """Whether a new generation has not taken over yet."""
        return bool(self._building)

    def create(self) -> None:
        """Make what is missing. A changed index is built beside the old one, which serves until `check` swaps."""
        if not self._control.partition.leads:
            return
        with translated():
            self._drop_unwanted()
            for alias, (shape, index) in self._wanted.items():
                self._create_one(alias, shape, index)

    def _load(self, alias: str, slot: str) -> _Generation | None:
        raw: Any = self._store.client.hget(self._registry, f"{slot}:{alias}")
        if raw is None:
            return None
        said = json.loads(raw)
        generation = _Generation(said["generation"], said["name"], said["fingerprint"])
        return generation if self._exists(generation.name) else None

    def _exists(self, name: str) -> bool:
        return name.encode() in self._store.client.execute_command("FT._LIST")

    def _create_one(self, alias: str, shape: Shape, index: Index) -> None:
        fields = schema(shape, index)
        head, more = [shape.type.upper(), shape.template.prefix], options(index)
        fingerprint = hashlib.blake2b(
            json.dumps([[*head, *more], fields]).encode(), digest_size=16
        ).hexdigest()
        serving, building = self._load(alias, "serving"), self._load(alias, "building")
        if building and building.fingerprint != fingerprint:
            self._drop(building.name)
            building = None
        if serving is not None:
            self._serving[alias] = serving
            if serving.fingerprint == fingerprint:
                self._point(alias, serving)
                return
        if building is None:
            number = serving.number + 1 if serving else 1
            building = _Generation(number, f"{alias}:{number}", fingerprint)
            self._drop(building.name)
            self._store.client.execute_command(
                "FT.CREATE", building.name, "ON", head[0], "PREFIX", 1, head[1], *more, "SCHEMA", *fields
            )
            telemetry.index_created(self._contract, alias, building.name)
        if serving is None:
            self._take_over(alias, building)
        else:
            self._building[alias] = building
            self._store.client.hset(self._registry, f"building:{alias}", building.encoded())

    def _take_over(self, alias: str, generation: _Generation) -> None:
        self._point(alias, generation)
        self._store.client.hset(self._registry, f"serving:{alias}", generation.encoded())
        self._store.client.hdel(self._registry, f"building:{alias}")
        self._serving[alias] = generation
        self._building.pop(alias, None)

    def _point(self, alias: str, generation: _Generation) -> None:
        self._store.client.execute_command("FT.ALIASUPDATE", alias, generation.name)

    def _drop(self, name: str) -> None:
        if self._exists(name):
            self._store.client.execute_command("FT.DROPINDEX", name)

    def _drop_unwanted(self) -> None:
        known: Any = self._store.client.hgetall(self._registry)
        for slot, raw in known.items():
            kind, _, alias = slot.decode().partition(":")
            if alias not in self._wanted or kind == "retired":
                self._drop(json.loads(raw)["name"])
                self._store.client.hdel(self._registry, slot)

    def check(self, *, ready: bool) -> None:
        """Show documents that an index leaves out; let a finished generation take over once the lane is `ready`, and
        every other partition has copied its documents too."""
        ready = ready and (
            not self._building or others_have_copied(self._store, self._control, self._fingerprint)
        )
        with translated():
            for alias, generation in list(self._serving.items()):
                self._report(alias, self._info(generation.name))
            for alias, generation in list(self._building.items()):
                if ready and not int(self._info(generation.name)["indexing"]):
                    old = self._serving[alias]
                    self._store.client.hset(self._registry, f"retired:{alias}", old.encoded())
                    self._take_over(alias, generation)
                    self._retired[old.name] = time.monotonic() + GRACE_S
                    telemetry.index_swapped(self._contract, alias, generation.name, old.name)
            for name, end in list(self._retired.items()):
                if time.monotonic() > end:
                    self._drop(name)
                    del self._retired[name]

    def _info(self, name: str) -> dict[str, Any]:
        try:
            reply: Any = self._store.client.execute_command("FT.INFO", name)
        except ResponseError as error:
            # Dropped by somebody else. The next run makes it again, over the keys that are there.
            raise TransientError("redis", f"the index {name} is gone ({error}); making it again") from error
        return _pairs(reply)

    def _report(self, alias: str, info: dict[str, Any]) -> None:
        failures = int(info.get("hash_indexing_failures", 0))
        errors = _pairs(info.get("Index Errors") or [])
        telemetry.index_failures(
            self._contract, alias, failures, _kind_of(errors), before=self._failures.get(alias, 0)
        )
        self._failures[alias] = failures


def _pairs(reply: Any) -> dict[str, Any]:
    if isinstance(reply, dict):
        return {_text(name): value for name, value in reply.items()}
    return {_text(name): value for name, value in zip(reply[::2], reply[1::2], strict=True)}


def _text(value: Any) -> str:
    return value.decode(errors="replace") if isinstance(value, bytes) else str(value)


def _kind_of(errors: dict[str, Any]) -> str:
    """The search module quotes the offending value in its message: only what stands before the quotation is told."""
    return _text(errors.get("last indexing error", "")).split("`")[0].split("'")[0].strip()[:120]


def schema(shape: Shape, index: Index) -> list[str]:
    """The SCHEMA part of FT.CREATE. RedisVL reads it back: hash fields carry no AS."""
    args: list[str] = []
    for field in index.fields:
        if shape.type == "json":
            args += [field.path or default_path(field.name, shape.names), "AS"]
        args += [field.name, *_attributes(field, shape.type)]
    return args


def options(index: Index) -> list[str]:
    """What FT.CREATE takes before SCHEMA, beside the keys."""
    args = [] if index.language is None else ["LANGUAGE", index.language]
    if index.stopwords is not None:
        args += ["STOPWORDS", str(len(index.stopwords)), *index.stopwords]
    return args


def _attributes(field: IndexField, kind: str) -> list[str]:
    if isinstance(field, VectorField):
        return _vector(field)
    args = [field.type.upper()]
    attrs = field.attrs
    if (weight := getattr(attrs, "weight", 1.0)) != 1.0:
        args += ["WEIGHT", str(weight)]
    if phonetic := getattr(attrs, "phonetic_matcher", None):
        args += ["PHONETIC", phonetic]
    if isinstance(field, TagField) and (separator := separator_of(field, kind)):
        args += ["SEPARATOR", separator]
    return args + [word for name, word in _FLAGS if getattr(attrs, name, False)]


def _vector(field: VectorField) -> list[str]:
    attrs = field.attrs
    options = ["TYPE", attrs.datatype.upper(), "DIM", str(attrs.dims)]
    options += ["DISTANCE_METRIC", attrs.distance_metric.upper()]
    for name in _VECTOR_OPTIONS:
        if (value := getattr(attrs, name)) is not None:
            options += [name.upper(), str(value)]
    flags = ["INDEXMISSING"] if attrs.index_missing else []
    return ["VECTOR", attrs.algorithm.upper(), str(len(options)), *options, *flags]
