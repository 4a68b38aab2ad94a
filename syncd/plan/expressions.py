"""JMESPath with bounds. Pure.

A few characters double what they are given again and again: `a|[@,@]|[@,@]|...`. What that makes costs nothing while
its parts are the same object, and everything when it is written.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from jmespath.exceptions import JMESPathTypeError
from jmespath.functions import REVERSE_TYPES_MAP, TYPES_MAP, Functions, signature
from jmespath.visitor import Options, TreeInterpreter

from syncd.errors import ProjectionError

LARGEST_RESULT = 16 * 1024 * 1024
"""Bytes, about: as much as a document may have."""
MOST_STEPS = 2_000_000
"""About a second of them, or two."""
_VALUE = 8
"""What each value counts, beside the characters of its text."""
_MAKES = frozenset(
    {
        "multi_select_list", "multi_select_dict", "flatten", "projection", "value_projection", "filter_projection",
        "function_expression",
    }
)  # fmt: skip


def evaluate(parsed: Mapping[str, Any], value: Any) -> Any:
    """The result of an expression. Raises ProjectionError where it is too large, or takes too many steps."""
    return _Bounded().visit(parsed, value)


def why(error: Exception) -> str:
    """The text of a failed evaluation without the value that it quotes; perhaps empty."""
    if isinstance(error, JMESPathTypeError):
        kind = TYPES_MAP.get(error.actual_type, error.actual_type)
        return f": {error.function_name}() does not take {kind if kind in REVERSE_TYPES_MAP else 'this type'}"
    if isinstance(error, RecursionError):
        return ": it is nested too deep"
    return ""


class _Functions(Functions):  # type: ignore[misc]
    """Each makes at most some times of what it is given, and that is bounded; but for one."""

    @signature({"types": ["string"]}, {"types": ["array-string"]})  # type: ignore[untyped-decorator]
    def _func_join(self, separator: str, array: list[str]) -> str:
        # A long separator between many texts: measured before it is made.
        if len(separator) * len(array) > LARGEST_RESULT:
            raise _too_large()
        return separator.join(array)


_FUNCTIONS = _Functions()


class _Bounded(TreeInterpreter):  # type: ignore[misc]
    """Of one evaluation."""

    def __init__(self) -> None:
        super().__init__(Options(custom_functions=_FUNCTIONS))
        self._left = MOST_STEPS

    def visit(self, node: Mapping[str, Any], *args: Any, **kwargs: Any) -> Any:
        result = super().visit(node, *args, **kwargs)
        self._spend(1)
        if node["type"] in _MAKES and self._size(result) > LARGEST_RESULT:
            raise _too_large()
        return result

    def _spend(self, steps: int) -> None:
        self._left -= steps
        if self._left < 0:
            raise _beyond(f"takes more than {MOST_STEPS:,} steps on this document")

    def _size(self, value: Any) -> int:
        """The size of a value written out."""
        if isinstance(value, str):
            return len(value) + _VALUE
        if not isinstance(value, list | dict):
            return _VALUE
        self._spend(len(value))
        names = sum(map(len, value)) if isinstance(value, dict) else 0
        size = _VALUE * (1 + len(value)) + names
        for part in value.values() if isinstance(value, dict) else value:
            if isinstance(part, str):
                size += len(part)
            elif isinstance(part, list | dict):
                size += self._size(part)
        return size


def _too_large() -> ProjectionError:
    return _beyond(f"makes more than {LARGEST_RESULT >> 20} MB of this document")


def _beyond(what: str) -> ProjectionError:
    return ProjectionError("expression", f"the expression {what}")
