"""Warnings about values that would leave their whole document out of a search index."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from syncd.contract.lint.redis.indexes import Indexed, indexed_fields
from syncd.contract.model.redis.projection import FieldSpec
from syncd.contract.model.redis.redis_types import IndexForm
from syncd.contract.read.loaded import LoadedContract
from syncd.errors import Problem

_RULE = "on_error: null, or omit, on the projected field"


def warnings(contracts: Sequence[LoadedContract]) -> list[Problem]:
    """Of contracts that passed every check."""
    return [problem for one in indexed_fields(contracts) for problem in _warnings(one)]


def _warnings(one: Indexed) -> Iterator[Problem]:
    spec, form = one.spec, one.form
    if spec is None or one.field.type not in ("numeric", "geo", "vector"):
        return
    if form.is_text and spec.null == "keep":
        what = "a null, kept as an empty text, leaves its document out of the index"
        yield one.problem(what, "leave out null: keep of the projected field")
    values = _unfit(one.field.type, spec, form) if spec.on_error == "letter" else ""
    if values:
        remedy = f"write {_RULE}" if spec.type else f"give the projected field a type, or write {_RULE}"
        yield one.problem(f"{values} leaves its document out of the index", remedy, "type")


def _unfit(entry: str, spec: FieldSpec, form: IndexForm) -> str:
    """Values that the field may hold and the entry of the index does not take."""
    if entry == "geo":
        return "" if spec.type else "what is no `lon,lat`"
    return form.hides.get(spec.type, "") if entry == "numeric" else ""
