"""Rules about queries: the filter that MongoDB evaluates, and JMESPath expressions."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from difflib import get_close_matches
from typing import Any

import bson
import jmespath
from bson.errors import BSONError
from jmespath.exceptions import JMESPathError, ParseError
from jmespath.functions import Functions

from syncd.contract.model.redis.projection import FieldSpec
from syncd.contract.read.loaded import LoadedContract
from syncd.contract.read.source import Path
from syncd.errors import Problem

_JAVASCRIPT = "runs JavaScript in the server", "write the condition with query operators or $expr"
_SORTS = "cannot be combined with the look-ups by _id that syncd makes", "use $geoWithin"
_RANDOM = "gives another answer every time", "filter on a field of the document"
_REFUSED = {
    "$where": _JAVASCRIPT,
    "$function": _JAVASCRIPT,
    "$accumulator": _JAVASCRIPT,
    "$near": _SORTS,
    "$nearSphere": _SORTS,
    "$text": (
        "cannot be combined with the look-ups by _id that syncd makes",
        "use $regex, or search in the index",
    ),
    "$rand": _RANDOM,
    "$sampleRate": _RANDOM,
}
_DEEPEST = 100
"""Each level is some calls deep when a document is projected."""
MOST_VALUES = 10_000
"""Values that an expression may make of one, in any document."""
_NO_BSON = (
    "MongoDB cannot represent this filter",
    'use integers of at most 64 bits ({$numberDecimal: "..."} beyond), and names without NUL',
)
_CLOCK = ("$$NOW", "$$CLUSTER_TIME")
_FUNCTIONS: Mapping[str, Mapping[str, Any]] = Functions.FUNCTION_TABLE


def filters_hold_no_refused_operator(contracts: Sequence[LoadedContract]) -> Iterator[Problem]:
    """Whether a filter matches a document must follow from the document alone, at any time."""
    for contract in contracts:
        for path, what, remedy in _refused(contract.contract.mongo.filter, ("mongo", "filter")):
            report = contract.problem if path[-1] not in _REFUSED else contract.problem_at_key
            yield report(path, what, remedy)


def _refused(query: Any, path: Path) -> Iterator[tuple[Path, str, str]]:
    for at, value in _walk(query, path):
        operator = str(at[-1])
        if operator in _REFUSED:
            why, remedy = _REFUSED[operator]
            yield at, f"`{operator}` {why}", remedy
        elif value in _CLOCK and "$expr" in at:
            what = f"`{value}` lets a document leave the filter without a change that syncd could see"
            yield at, what, "compare with a fixed date, or give the projection a ttl: {field: ...}"


def why_no_filter(query: Mapping[str, Any]) -> tuple[str, str] | None:
    """What is wrong with a query that a person gives, and the remedy; None where it may be used as a filter."""
    if not _is_bson(query):
        return _NO_BSON
    return next(((what, remedy) for _, what, remedy in _refused(query, ("",))), None)


def _walk(value: Any, path: Path) -> Iterator[tuple[Path, Any]]:
    yield path, value if isinstance(value, str) else None
    if isinstance(value, Mapping):
        for key, item in value.items():
            yield from _walk(item, (*path, key))
    elif isinstance(value, list):
        for index, item in enumerate(value):
            yield from _walk(item, (*path, index))


def filters_are_bson(contracts: Sequence[LoadedContract]) -> Iterator[Problem]:
    """MongoDB's integers end at 64 bits, and its names hold no NUL."""
    for contract in contracts:
        if not _is_bson(contract.contract.mongo.filter or {}):
            yield contract.problem(("mongo", "filter"), *_NO_BSON)


def _is_bson(query: Mapping[str, Any]) -> bool:
    try:
        bson.encode(query)
    except (BSONError, OverflowError, UnicodeError, RecursionError):
        return False
    return True


def expressions_compile(contracts: Sequence[LoadedContract]) -> Iterator[Problem]:
    """An expression that does not compile would make every document a dead letter."""
    for contract in contracts:
        for path, expression in expressions(contract):
            if not contract.sound(*path):
                continue
            try:
                parsed = jmespath.compile(expression).parsed
            except ParseError as error:
                yield _syntax_problem(contract, path, error)
            except (JMESPathError, ValueError, RecursionError):
                # An empty one, an index of thousands of digits, or hundreds of brackets.
                yield contract.problem(path, "not a JMESPath expression", "see jmespath.org for the language")
            else:
                if _depth(parsed) > _DEEPEST:
                    what = f"a JMESPath expression of more than {_DEEPEST} steps one inside the other"
                    yield contract.problem(path, what, "write it shorter, or project fields of their own")
                    continue
                if (count := _least_result(parsed)) > MOST_VALUES:
                    what = f"the expression makes {count:,} values of one"
                    yield contract.problem(path, what, "do not repeat a list of what it is given so often")
                    continue
                for name in _unknown_functions(parsed):
                    yield _function_problem(contract, path, expression, name)


def expressions(contract: LoadedContract) -> Iterator[tuple[Path, str]]:
    """All of a contract, and where they stand."""
    for index, projection in contract.projections():
        specs: dict[Path, FieldSpec] = {
            ("fields", name): spec for name, spec in (projection.fields or {}).items()
        }
        if projection.value is not None:
            specs["value",] = projection.value
        for path, spec in specs.items():
            if spec.expr is not None:
                yield ("redis", index, *path, "expr"), spec.expr


def _syntax_problem(contract: LoadedContract, path: Path, error: ParseError) -> Problem:
    at = int(error.lex_position)
    ended = error.token_value in (None, "")
    token = "" if ended or contract.source.has_variable(*path) else f" (`{error.token_value}`)"
    why = "it ends too early" if ended else f"character {at + 1}{token} is unexpected"
    remedy = "close brackets and quotes" if ended else "see jmespath.org for the language"
    return contract.problem(path, f"not a JMESPath expression: {why}", remedy, offset=at)


def _depth(parsed: Mapping[str, Any]) -> int:
    """Levels of a tree, without going down by itself: it may be deeper than the interpreter's stack."""
    depth, level = 0, [parsed]
    while level:
        depth += 1
        level = [child for node in level for child in node["children"]]
    return depth


def _least_result(node: Mapping[str, Any], given: int = 1) -> int:
    """How many values an expression makes at least of so many, where all that it names is there."""
    kind, children = node["type"], node.get("children", [])
    if kind in ("current", "identity"):
        return given
    if kind in ("subexpression", "pipe", "index_expression"):
        for child in children:
            given = _least_result(child, given)
        return given
    if kind in ("multi_select_list", "multi_select_dict", "key_val_pair"):
        return sum(_least_result(child, given) for child in children)
    return 1


def _unknown_functions(node: Mapping[str, Any]) -> Iterator[str]:
    if node["type"] == "function_expression" and node["value"] not in _FUNCTIONS:
        yield node["value"]
    for child in node["children"]:
        yield from _unknown_functions(child)


def _function_problem(contract: LoadedContract, path: Path, expression: str, name: str) -> Problem:
    close = get_close_matches(name, _FUNCTIONS, 1, 0.7)
    remedy = f"did you mean {close[0]}()?" if close else f"known are {', '.join(sorted(_FUNCTIONS))}"
    shown = "" if contract.source.has_variable(*path) else f" `{name}`"
    return contract.problem(path, f"JMESPath has no function{shown}", remedy, offset=expression.find(name))


RULES = (filters_hold_no_refused_operator, filters_are_bson, expressions_compile)
