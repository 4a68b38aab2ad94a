"""The search indexes of a contract: made before the snapshot, and checked every few seconds."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

from syncd import telemetry
from syncd.contract.model.redis.indexes import Index, IndexField, TagField, VectorField, separator_of
from syncd.contract.model.redis.json_path import default_path
from syncd.contract.model.redis.projection import Projection
from syncd.contract.model.redis.redis_types import IndexForm
from syncd.plan.stream_plan import StreamPlan
from syncd.plan.to_redis.shape import Shape
from syncd.stores.redis.records.layout import others_have_copied
from syncd.stores.redis.records.position import ControlKeys
from syncd.stores.redis.records.requests.lane_requests import request_snapshot
from syncd.stores.redis.search import Search
from syncd.stores.redis.store import RedisStore
from syncd.to_redis.apply.pipeline import Moved
from syncd.to_redis.indexes.generations import Generation, Generations
from syncd.to_redis.indexes.left_out import LeftOut
from syncd.to_redis.indexes.named_index import NamedIndex, Wanted

CHECK_S, CHECK_SOON_S = 2.0, 0.5
"""How soon it is noticed that a client took the name of an index; and that all is well again."""

_FLAGS = (
    ("index_missing", "INDEXMISSING"), ("index_empty", "INDEXEMPTY"), ("no_stem", "NOSTEM"),
    ("withsuffixtrie", "WITHSUFFIXTRIE"), ("case_sensitive", "CASESENSITIVE"), ("sortable", "SORTABLE"),
    ("unf", "UNF"), ("no_index", "NOINDEX"),
)  # fmt: skip
_VECTOR_OPTIONS = ("initial_cap", "block_size", "m", "ef_construction", "ef_runtime", "epsilon")


class Indexes:
    """All indexes of one contract. `create` before a snapshot, `check` every few seconds.

    Of several partitions the first alone has anything to do here.
    """

    def __init__(self, plan: StreamPlan, store: RedisStore, control: ControlKeys) -> None:
        self._plan, self._store, self._control = plan, store, control
        self._search = Search(store)
        self._generations = Generations(store, control)
        # What other partitions remove is not known here, and both ways the application removes keys as well.
        is_alone = control.partition.is_whole and plan.contract.sync.direction != "both"
        self._named = {
            projection.index.name: NamedIndex(
                plan.name, _wanted(shape, projection.index, keys_stay=is_alone and projection.ttl is None),
                self._search, self._generations, LeftOut(shape, store, control, self._search),
            )
            for shape, projection in _with_projections(plan)
            if projection.index is not None
        }  # fmt: skip
        self._has_any = False
        self._next = 0.0

    @property
    def is_building(self) -> bool:
        """Whether a new generation has not taken over yet."""
        return any(one.is_building for one in self._named.values())

    @property
    def is_due(self) -> bool:
        """Whether it is time for another check."""
        return self._has_any and time.monotonic() >= self._next

    @property
    def complaint(self) -> str:
        """Why searches do not find what they should; empty where they do."""
        return (
            next((one.complaint for one in self._named.values() if one.complaint), "")
            if self._has_any
            else ""
        )

    def as_dicts(self) -> list[dict[str, Any]]:
        """For /status."""
        return [one.as_dict() for one in self._named.values()] if self._has_any else []

    def create(self) -> None:
        """Make what is missing. A changed index behind an alias is built beside the old one, which serves until `check`
        swaps."""
        if not self._control.partition.leads:
            return
        self._generations.load()
        self._drop_unwanted()
        self._has_any = bool(self._named or self._generations.old())
        self._keep(Moved(), ready=False)

    def check(self, moved: Moved, *, ready: bool) -> None:
        """Check that all is still there under its name; let a finished generation take over once the lane is `ready`
        and every other partition has copied its documents too. `moved`: what the lane itself did to keys."""
        if self.is_building:
            ready = ready and others_have_copied(self._store, self._control, self._plan.fingerprint)
        self._keep(moved, ready=ready)
        for one in self._generations.old():
            if one.until is not None and time.time() > one.until:
                self._drop(one)
                self._generations.drop(one)

    def _keep(self, moved: Moved, *, ready: bool) -> None:
        self._next = time.monotonic() + CHECK_S
        if not self._named:
            return
        names = self._search.names()
        gone = [name for name, one in self._named.items() if one.keep(names, moved, ready=ready)]
        if self.complaint or self.is_building:
            self._next = time.monotonic() + CHECK_SOON_S
        if gone:
            telemetry.index_keys_gone(self._plan.name, gone)
            request_snapshot(self._store, self._plan.name)

    def _drop_unwanted(self) -> None:
        """Indexes that the contract no longer has. Old ones of an index that another contract took stay their time."""
        unwanted = self._generations.aliases() - set(self._named)
        for one in self._generations.every():
            if one.alias in unwanted:
                self._drop(one)
                self._generations.drop(one)

    def _drop(self, one: Generation) -> None:
        seen = self._search.look(one.name)
        if seen is not None and seen.name == one.name and one.shape in ("", seen.shape):
            self._search.drop(one.name)
            telemetry.index_retired(self._plan.name, one.alias, one.name)


def _with_projections(plan: StreamPlan) -> Iterator[tuple[Shape, Projection]]:
    """Each shape with what the contract says of it."""
    by_name = {projection.projection: projection for projection in plan.contract.redis}
    for shape in plan.shapes:
        yield shape, by_name[shape.name]


def wanted_indexes(plan: StreamPlan) -> list[Wanted]:
    """As the contract has them."""
    return [
        _wanted(shape, projection.index, keys_stay=False)
        for shape, projection in _with_projections(plan)
        if projection.index is not None
    ]


def _wanted(shape: Shape, index: Index, *, keys_stay: bool) -> Wanted:
    form = _form(shape)
    places = [(_place(shape, form, field), field.name, str(field.type)) for field in index.fields]
    return Wanted(
        index.name, form.name, shape.template.prefix, options(index), schema(shape, index), places,
        in_place=index.generations == "in_place",
        keep_old_s=None if index.keep_old is None else index.keep_old / 1000,
        keys_stay=keys_stay,
    )  # fmt: skip


def schema(shape: Shape, index: Index) -> list[str]:
    """The SCHEMA part of FT.CREATE. RedisVL reads it back: hash fields carry no AS."""
    args: list[str] = []
    form = _form(shape)
    for field in index.fields:
        if not form.is_text:
            args += [_place(shape, form, field), "AS"]
        args += [field.name, *_attributes(field, form)]
    return args


def _form(shape: Shape) -> IndexForm:
    form = shape.index_form
    assert form is not None, f"no index reads a {shape.type}"
    return form


def _place(shape: Shape, form: IndexForm, field: IndexField) -> str:
    if form.is_text:
        return field.name
    return field.path or default_path(field.name, shape.names)


def options(index: Index) -> list[str]:
    """What FT.CREATE takes before SCHEMA, beside the keys."""
    args = [] if index.language is None else ["LANGUAGE", index.language]
    if index.stopwords is not None:
        args += ["STOPWORDS", str(len(index.stopwords)), *index.stopwords]
    return args


def _attributes(field: IndexField, form: IndexForm) -> list[str]:
    if isinstance(field, VectorField):
        return _vector(field)
    args = [field.type.upper()]
    attrs = field.attrs
    if (weight := getattr(attrs, "weight", 1.0)) != 1.0:
        args += ["WEIGHT", str(weight)]
    if phonetic := getattr(attrs, "phonetic_matcher", None):
        args += ["PHONETIC", phonetic]
    if isinstance(field, TagField) and (separator := separator_of(field, form)):
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
