"""MongoDB Extended JSON in `mongo.filter`: `{$oid: ...}`, `{$date: ...}` and the like."""

from __future__ import annotations

from collections.abc import Callable
from decimal import DecimalException
from typing import Any

from bson.errors import BSONError
from bson.json_util import JSONOptions, object_hook

from syncd.contract.read.source import Path

_WRAPPERS: dict[str, tuple[tuple[type, ...], str]] = {
    "$oid": ((str,), 'write 24 hexadecimal digits, as in {$oid: "65a1f00d65a1f00d65a1f00d"}'),
    "$date": ((str, int), 'write a moment with its zone, as in {$date: "2024-01-31T00:00:00Z"}'),
    "$numberDecimal": ((str,), 'write the number in quotes, as in {$numberDecimal: "12.50"}'),
    "$numberLong": ((str, int), 'write a whole number, as in {$numberLong: "42"}'),
    "$numberInt": ((str, int), 'write a whole number, as in {$numberInt: "42"}'),
    "$numberDouble": ((str, int, float), 'write a number, as in {$numberDouble: "1.5"}'),
    "$uuid": ((str,), 'write a UUID, as in {$uuid: "123e4567-e89b-12d3-a456-426614174000"}'),
    "$binary": ((dict,), 'write {$binary: {base64: "AAAA", subType: "00"}}'),
    "$regularExpression": ((dict,), 'write {$regularExpression: {pattern: "^a", options: "i"}}'),
    "$timestamp": ((dict,), "write {$timestamp: {t: 1700000000, i: 1}}"),
    "$minKey": ((int,), "write {$minKey: 1}"),
    "$maxKey": ((int,), "write {$maxKey: 1}"),
}
"""What each may hold, and how it is written. `bson.json_util` makes `{$oid: null}` a new, random id."""

_OPTIONS = JSONOptions(tz_aware=True)
_UNREADABLE = (TypeError, ValueError, LookupError, AttributeError, OverflowError, DecimalException, BSONError)
"""What `bson.json_util` raises over values of the wrong shape."""

Report = Callable[[Path, str, str], None]
"""Takes the path of a mistake, what it is and how to fix it."""


def decode(value: Any, path: Path, report: Report) -> Any:
    """The same value with every `{$oid: ...}` and the like replaced by what it stands for."""
    if isinstance(value, list):
        return [decode(item, (*path, index), report) for index, item in enumerate(value)]
    if not isinstance(value, dict):
        return value
    decoded = {key: decode(item, (*path, key), report) for key, item in value.items()}
    wrapper = next((key for key in decoded if key in _WRAPPERS), None)
    return decoded if wrapper is None else _unwrap(decoded, wrapper, (*path, wrapper), report)


def _unwrap(value: dict[str, Any], wrapper: str, path: Path, report: Report) -> Any:
    types, remedy = _WRAPPERS[wrapper]
    content = value[wrapper]
    if len(value) > 1:
        report(path, f"`{wrapper}` beside other keys", f"let it stand alone: {remedy}")
    elif not isinstance(content, types) or isinstance(content, bool):
        report(path, f"not a value of `{wrapper}`", remedy)
    else:
        try:
            return object_hook(value, _OPTIONS)
        except _UNREADABLE:
            report(path, f"not a value of `{wrapper}`", remedy)
    return None
