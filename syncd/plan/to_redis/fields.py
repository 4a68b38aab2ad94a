"""The fields of a projection as functions: where a value is found, and what it becomes.

`collector` writes one Python function for a whole projection. A loop over fields with a call to find and a call to
encode costs three times as much per document, and this is most of what a snapshot does in Python.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple, TypeAlias

import jmespath
from jmespath.exceptions import JMESPathError

from syncd.contract.model.expressions import names_read
from syncd.contract.model.redis.indexes import IndexField
from syncd.contract.model.redis.projection import FieldSpec
from syncd.errors import ProjectionError
from syncd.plan.expressions import evaluate, why
from syncd.plan.misfits import Note, unnoted
from syncd.plan.paths import MISSING, getter, walk
from syncd.plan.values.bson_values import in_field
from syncd.plan.values.codec import OMIT, as_is, hash_field, json_field, to_json

Find: TypeAlias = Callable[[Mapping[str, Any]], Any]
Encode: TypeAlias = Callable[[Any], Any]
Collect: TypeAlias = Callable[[Mapping[str, Any]], dict[str, Any]]
ReadRow: TypeAlias = Callable[[Mapping[str, Any]], tuple[Any, ...] | None]


class Field(NamedTuple):
    """One field. `path` is None for an expression; `reads` are the paths it needs, None for the whole document."""

    name: str
    path: str | None
    find: Find
    encode: Encode
    plain: bool
    """Text and integers stay as they are: both go over the wire without a conversion in Python."""
    reads: frozenset[str] | None


def compile_field(
    name: str,
    spec: FieldSpec,
    hmac_key: bytes | None,
    *,
    as_json: bool,
    entries: Sequence[IndexField] = (),
    note: Note = unnoted,
) -> Field:
    """Raises SettingsError where a mask lacks its key. `entries` of a search index read the field."""
    encode = (json_field if as_json else hash_field)(name, spec, hmac_key, entries, note)
    if (said := spec.constant) is not None:
        return Field(name, None, lambda _: said, encode, False, frozenset())
    if spec.from_ is not None:
        plain = spec.type is None and spec.mask is None and spec.on_error == "letter"
        return Field(name, spec.from_, getter(spec.from_), encode, plain, frozenset({spec.from_}))
    find, reads = _expression(name, spec)
    if spec.on_error != "letter":
        find = _lenient(find, None if spec.on_error == "null" else MISSING, note)
    return Field(name, None, find, encode, False, reads)


def _expression(name: str, spec: FieldSpec) -> tuple[Find, frozenset[str] | None]:
    parsed = jmespath.compile(spec.expr).parsed
    needed = names_read(parsed)

    def find(document: Mapping[str, Any]) -> Any:
        names = document if needed is None else needed & document.keys()
        try:
            result = evaluate(parsed, {n: to_json(document[n]) for n in names})
        except ProjectionError as error:
            raise in_field(name, error) from None
        except (JMESPathError, ArithmeticError, RecursionError, TypeError, ValueError) as error:
            detail = f"field `{name}`: the expression fails on this document{why(error)}"
            raise ProjectionError("expression", detail) from None
        # JMESPath gives null for what is missing.
        return MISSING if result is None and spec.null != "keep" else result

    return find, needed


def _lenient(find: Find, instead: Any, note: Note) -> Find:
    def lenient(document: Mapping[str, Any]) -> Any:
        try:
            return find(document)
        except ProjectionError:
            note("omitted" if instead is MISSING else "null")
            return instead

    return lenient


def collector(fields: Iterable[Field], *, as_json: bool) -> Collect:
    """A function from documents to encoded fields by name; what is missing is left out."""
    names: dict[str, Any] = {"MISSING": MISSING, "LEAVE_OUT": OMIT if as_json else None, "walk": walk}
    lines = ["def collect(document):", " get = document.get", " fields = {}"]
    for number, field in enumerate(fields):
        names[f"find_{number}"], names[f"encode_{number}"] = field.find, field.encode
        lines += _look_up(number, field.path)
        lines += [" if value is not MISSING:", *_store(number, field, as_json)]
    lines.append(" return fields")
    exec("\n".join(lines), names)  # noqa: S102 - our own text; a contract's words come in as repr() only
    collect: Collect = names["collect"]
    return collect


def _look_up(number: int, path: str | None) -> list[str]:
    parts = path.split(".") if path is not None else []
    if len(parts) == 1:
        return [f" value = get({path!r}, MISSING)"]
    if len(parts) == 2:
        return [
            f" value = get({parts[0]!r}, MISSING)",
            " if type(value) is dict:",
            f"  value = value.get({parts[1]!r}, MISSING)",
            " elif value is not MISSING:",
            f"  value = walk(value, {(parts[1],)!r})",
        ]
    return [f" value = find_{number}(document)"]


def _store(number: int, field: Field, as_json: bool) -> list[str]:
    if as_json and field.encode is as_is:
        return [f"  fields[{field.name!r}] = value"]
    encode = [
        f"value = encode_{number}(value)",
        "if value is not LEAVE_OUT:",
        f" fields[{field.name!r}] = value",
    ]
    if not field.plain or as_json:
        return [f"  {line}" for line in encode]
    return [
        "  kind = type(value)",
        "  if kind is str or kind is int:",
        f"   fields[{field.name!r}] = value",
        "  else:",
        *(f"   {line}" for line in encode),
    ]


def row_reader(fields: Iterable[Field]) -> ReadRow:
    """A function from documents to the encoded values of all fields of a hash, or None where one is left out."""
    names: dict[str, Any] = {"MISSING": MISSING}
    finds, encodes, values = [], [], []
    for number, field in enumerate(fields):
        names[f"find_{number}"], names[f"encode_{number}"] = field.find, field.encode
        value = f"v{number}"
        values.append(value)
        if field.path is not None and "." not in field.path:
            finds.append(f"  {value} = document[{field.path!r}]")
        else:
            finds += [f"  {value} = find_{number}(document)", f"  if {value} is MISSING: return None"]
        plain = f" if type({value}) is not str and type({value}) is not int:" if field.plain else " if True:"
        encodes += [plain, f"  {value} = encode_{number}({value})", f"  if {value} is None: return None"]
    lines = ["def row(document):", " try:", *finds, " except KeyError:", "  return None", *encodes]
    lines.append(f" return ({', '.join(values)},)")
    exec("\n".join(lines), names)  # noqa: S102 - our own text; a contract's words come in as repr() only
    row: ReadRow = names["row"]
    return row
