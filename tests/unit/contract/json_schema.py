"""The part of JSON Schema 2020-12 that the schema of contracts uses; a keyword beyond it fails the test."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

_TYPES: dict[str, Callable[[Any], bool]] = {
    "object": lambda value: isinstance(value, dict),
    "array": lambda value: isinstance(value, list),
    "string": lambda value: isinstance(value, str),
    "boolean": lambda value: isinstance(value, bool),
    "integer": lambda value: isinstance(value, int) and not isinstance(value, bool),
    "number": lambda value: isinstance(value, int | float) and not isinstance(value, bool),
    "null": lambda value: value is None,
}
_CHECKS: dict[str, Callable[[Any, Any], bool]] = {
    "type": lambda want, value: _TYPES[want](value),
    "enum": lambda want, value: value in want,
    "const": lambda want, value: value == want,
    "pattern": lambda want, value: not isinstance(value, str) or re.search(want, value) is not None,
    "minLength": lambda want, value: not isinstance(value, str) or len(value) >= want,
    "maxLength": lambda want, value: not isinstance(value, str) or len(value) <= want,
    "minItems": lambda want, value: not isinstance(value, list) or len(value) >= want,
    "maxItems": lambda want, value: not isinstance(value, list) or len(value) <= want,
    "minProperties": lambda want, value: not isinstance(value, dict) or len(value) >= want,
    "required": lambda want, value: not isinstance(value, dict) or set(want) <= value.keys(),
    "minimum": lambda want, value: not _TYPES["number"](value) or value >= want,
    "maximum": lambda want, value: not _TYPES["number"](value) or value <= want,
    "exclusiveMinimum": lambda want, value: not _TYPES["number"](value) or value > want,
}
_WORDS = {"$schema", "$defs", "title", "description", "default"}


def valid(schema: Any, value: Any, root: Any = None) -> bool:
    """True if the value fits the schema."""
    root = root or schema
    if isinstance(schema, bool):
        return schema
    return all(_holds(keyword, schema, value, root) for keyword in schema.keys() - _WORDS)


def _holds(keyword: str, schema: Any, value: Any, root: Any) -> bool:
    want = schema[keyword]
    match keyword:
        case "$ref":
            return valid(root["$defs"][want.removeprefix("#/$defs/")], value, root)
        case "anyOf":
            return any(valid(option, value, root) for option in want)
        case "oneOf":
            return sum(valid(option, value, root) for option in want) == 1
        case "items":
            return not isinstance(value, list) or all(valid(want, item, root) for item in value)
        case "properties":
            members = value.items() if isinstance(value, dict) else ()
            return all(valid(want[name], item, root) for name, item in members if name in want)
        case "additionalProperties":
            members = value.items() if isinstance(value, dict) else ()
            return all(
                valid(want, item, root) for name, item in members if name not in schema.get("properties", ())
            )
        case _:
            return _CHECKS[keyword](want, value)
