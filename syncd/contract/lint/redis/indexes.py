"""Rules about search indexes.

RediSearch leaves a document out of an index, without an error, over one field that does not fit.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TypeAlias

from syncd.contract.lint.keys import keys_of
from syncd.contract.model.redis.indexed import member_of, path_of
from syncd.contract.model.redis.indexes import Index, IndexField, VectorField
from syncd.contract.model.redis.json_path import can_be_read
from syncd.contract.model.redis.projection import FieldSpec, Projection
from syncd.contract.model.redis.redis_types import TYPE_RULES, IndexForm
from syncd.contract.model.redis.template import SEPARATOR, KeyTemplate, Placeholder
from syncd.contract.model.redis.template_overlap import overlaps
from syncd.contract.read.loaded import LoadedContract
from syncd.contract.read.source import Path
from syncd.contract.several import index_names
from syncd.errors import Problem

_FITTING = {
    "text": "a text, or index the field as numeric or vector",
    "tag": "a text, or index the field as numeric or vector",
    "numeric": "type: int, double, epoch, epoch_ms or epoch_us",
    "geo": "type: geo",
}


@dataclass(frozen=True, slots=True, eq=False)
class Indexed:
    """One field of an index. `member` is the projected field that it reads; None if a path may reach any."""

    contract: LoadedContract
    projection: Projection
    field: IndexField
    path: Path
    member: str | None
    exact: bool

    @property
    def form(self) -> IndexForm:
        """How the index reads keys of the projection."""
        form = TYPE_RULES[self.projection.type].index
        assert form is not None, "see `indexes`"
        return form

    @property
    def spec(self) -> FieldSpec | None:
        """The projected field, where the index reads just that."""
        return (self.projection.fields or {}).get(self.member or "") if self.exact else None

    def problem(self, what: str, remedy: str, *steps: str) -> Problem:
        """A problem of the field, or of a key in it."""
        name = self.contract.written(*self.path, "name")
        return self.contract.problem((*self.path, *steps), f"index field `{name}`: {what}", remedy)


@dataclass(frozen=True, slots=True, eq=False)
class Indexes:
    """One index and its projection."""

    contract: LoadedContract
    path: Path
    projection: Projection
    index: Index


def indexes(contracts: Sequence[LoadedContract]) -> Iterator[Indexes]:
    """All indexes that are sound as a whole."""
    for contract in contracts:
        for at, projection in contract.projections():
            path = ("redis", at, "index")
            fits = contract.sound(*path) and contract.sound("redis", at, "type")
            if projection.index and fits and TYPE_RULES[projection.type].index is not None:
                yield Indexes(contract, path, projection, projection.index)


def indexed_fields(contracts: Sequence[LoadedContract]) -> Iterator[Indexed]:
    """All fields of indexes that are sound, over projected fields that are."""
    for one in indexes(contracts):
        for at, field in enumerate(one.index.fields):
            path = (*one.path, "fields", at)
            member, exact = member_of(one.projection, field)
            if one.contract.sound(*path) and one.contract.sound(*path[:2], "fields", member or ""):
                yield Indexed(one.contract, one.projection, field, path, member, exact)


def index_names_are_unique(contracts: Sequence[LoadedContract]) -> Iterator[Problem]:
    """An index name is an alias, and an alias points at one index. Real ones behind it are `name:1` and so on."""
    first: dict[str, Indexes] = {}
    known: list[tuple[KeyTemplate, Indexes]] = []
    for one in indexes(contracts):
        path = (*one.path, "name")
        if not one.contract.sound(*path):
            continue
        mine = [(name, one) for name in index_names(one.contract.contract, one.index.name)]
        what = "again"
        if (other := first.setdefault(one.index.name, one)) is one:
            what, other = _meeting(mine, known) or ("", one)
        if other is not one:
            what = what.format(f"`{other.contract.written(*other.path, 'name')}`")
            remedy = f"choose another name, for a projection of {other.contract.file} has this one"
            yield one.contract.problem(path, f"the index name `{one.contract.written(*path)}` {what}", remedy)
        known += mine


_Names: TypeAlias = Sequence[tuple[KeyTemplate, Indexes]]


def _meeting(mine: _Names, known: _Names) -> tuple[str, Indexes] | None:
    """An index that may have one of these names, where either has one for each collection, or a real one behind which
    may, or has one that a real one of these may have; and what to say of it."""
    for name, one in mine:
        for theirs, other in known:
            if (name.placeholders or theirs.placeholders) and overlaps(name, theirs) is not None:
                return "can be the same as {}", other
            if _may_be_behind(name, other.index, theirs):
                return "can be that of a real index behind {}", other
            if _may_be_behind(theirs, one.index, name):
                return "can have a real index behind it with the name {}", other
    return None


def _may_be_behind(name: KeyTemplate, index: Index, alias: KeyTemplate) -> bool:
    """Whether an index can have the name of a real one behind an alias: with a number at its end."""
    literals = (*alias.literals[:-1], f"{alias.literals[-1]}{SEPARATOR}", "")
    real = KeyTemplate(alias.text, literals, (*alias.placeholders, Placeholder("number")))
    number = "".join(name.literals).rpartition(SEPARATOR)[2]
    is_number = not number or (number.isascii() and number.isdigit())
    return index.generations == "alias" and is_number and overlaps(name, real) is not None


def indexes_cover_their_own_keys(contracts: Sequence[LoadedContract]) -> Iterator[Problem]:
    """RediSearch indexes every key with the prefix that has the right type, of any client."""
    everyone = list(keys_of(contracts))
    for keys in everyone:
        prefix, projection = keys.template.prefix, keys.projection
        if projection.index is None:
            continue
        if not prefix:
            yield keys.problem(
                "an index over a key without a prefix would hold every key", "begin the key with a name"
            )
            continue
        for other in everyone:
            if other is keys or other.projection.type != projection.type:
                continue
            # Keys that both own are a problem of their own.
            covered = (
                other.template.prefix.startswith(prefix) and overlaps(keys.template, other.template) is None
            )
            if covered:
                what = f"the index on {keys.shown} takes in keys of {other.shown} in {other.contract.file}"
                yield keys.problem(what, "give one of them another prefix")


def index_fields_are_unique(contracts: Sequence[LoadedContract]) -> Iterator[Problem]:
    """Two attributes of one name are an error when the index is created."""
    for one in indexes(contracts):
        names: set[str] = set()
        for at, field in enumerate(one.index.fields):
            path = (*one.path, "fields", at, "name")
            if one.contract.sound(*path) and field.name in names:
                what = f"index field `{one.contract.written(*path)}` again"
                yield one.contract.problem(path, what, "keep one, or rename it")
            names.add(field.name)


def paths_can_be_read(contracts: Sequence[LoadedContract]) -> Iterator[Problem]:
    """Only JSON has paths, and they begin at its root."""
    for one in indexed_fields(contracts):
        if one.form.is_text:
            if one.field.path is not None:
                yield one.problem(
                    f"a {one.projection.type} has no paths",
                    "leave `path` out; the name is the hash field",
                    "path",
                )
        elif not can_be_read(path_of(one.projection, one.field)):
            if one.field.path is None:
                what = "RedisJSON cannot name a member that begins with a blank"
                yield one.problem(what, "give the projected field another name", "name")
                continue
            remedy = "write one from the root, such as path: $.genres[*], and names beyond ASCII letters, "
            remedy += 'digits and -_ in brackets, such as path: $["größe"]'
            yield one.problem("not a JSON path that RedisJSON can read", remedy, "path")


def projected_fields_back_the_index(contracts: Sequence[LoadedContract]) -> Iterator[Problem]:
    """An index field that no projected field writes never finds anything."""
    for one in indexed_fields(contracts):
        fields = one.projection.fields or {}
        if one.member is not None and not one.projection.whole and one.member not in fields:
            what = (
                f"no projected field writes `{one.member}`"
                if not _hidden(one)
                else "no projected field writes it"
            )
            # A name from the environment is not repeated.
            known = ", ".join(name for name in fields if name in one.contract.source.text)
            yield one.problem(what, f"add it to `fields`, or index one of {known}")


def _hidden(one: Indexed) -> bool:
    return any(one.contract.source.has_variable(*one.path, key) for key in ("name", "path"))


def vectors_agree(contracts: Sequence[LoadedContract]) -> Iterator[Problem]:
    """A vector of another length, or other bytes, is left out of the index without an error."""
    for one in indexed_fields(contracts):
        spec, field = one.spec, one.field
        if spec is None or not isinstance(field, VectorField):
            continue
        attrs = field.attrs
        if spec.type != "vector":
            remedy = f"write it as {{from: ..., type: vector, dims: {attrs.dims}}}"
            yield one.problem("a vector index over a field that is not `type: vector`", remedy)
        elif spec.dims != attrs.dims:
            what = f"dims {attrs.dims} differ from the {spec.dims} of the projected field"
            yield one.problem(what, "write the same number in both places", "attrs", "dims")
        elif one.form.is_text and spec.datatype != attrs.datatype:
            what = f"datatype {attrs.datatype} differs from the {spec.datatype} of the projected field"
            yield one.problem(what, "write the same `datatype` in both places", "attrs", "datatype")


def types_fit_the_index(contracts: Sequence[LoadedContract]) -> Iterator[Problem]:
    """RediSearch reads numbers as NUMERIC, `lon,lat` as GEO, and in JSON texts alone as TEXT and TAG."""
    for one in indexed_fields(contracts):
        if one.spec is None or isinstance(one.field, VectorField):
            continue
        held = "masked" if one.spec.mask else one.spec.type
        if held in one.form.unfit[one.field.type]:
            sort = "masked" if held == "masked" else f"of type {held}"
            what = f"a {one.field.type} index over a field that is {sort}"
            yield one.problem(what, f"project {_FITTING[one.field.type]}", "type")


RULES = (
    index_names_are_unique,
    indexes_cover_their_own_keys,
    index_fields_are_unique,
    paths_can_be_read,
    projected_fields_back_the_index,
    vectors_agree,
    types_fit_the_index,
)
