"""What a test expects, compared with what came of it. Pure.

In a hash, a string, a list or a set everything is text: there an expected `1972` is the text that a field of a document
would have. In JSON, and in documents of MongoDB, values have types.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Iterator, Mapping
from typing import Any, Final, NamedTuple

from bson.int64 import Int64

from syncd.contract.read.source import Path
from syncd.errors import ProjectionError
from syncd.plan.values.texts import as_bytes, to_hash, to_json

NEAR = 1e-6
"""Of numbers in a list, relatively: the elements of a vector are rounded to 32 bits."""
OPTIONAL = "time"
"""Of an entry of a change feed: the clock of MongoDB says it, so that it is compared where it is named."""


class _Nothing:
    def __repr__(self) -> str:
        return "nothing"


NOTHING: Final = _Nothing()
"""Where one side has no value."""


class Difference(NamedTuple):
    """One thing that is not as a test expects it."""

    path: Path
    """In the test."""
    what: str
    expected: Any = NOTHING
    found: Any = NOTHING


class Comparison:
    """How values of one kind are compared."""

    def __init__(self, *, partial: bool) -> None:
        self._partial = partial

    def same(self, expected: Any, found: Any) -> bool:
        """Whether two single values are."""
        raise NotImplementedError

    def differences(self, path: Path, what: str, expected: Any, found: Any) -> Iterator[Difference]:
        """Value by value."""
        if isinstance(found, Mapping) and isinstance(expected, Mapping):
            yield from self._of_mappings(path, what, expected, found)
        elif isinstance(found, frozenset) and isinstance(expected, list):
            yield from self._of_sets(path, what, expected, found)
        elif isinstance(found, list) and isinstance(expected, list):
            yield from self._of_lists(path, what, expected, found)
        elif not self.same(expected, found):
            yield Difference(path, what, expected, found)

    def _of_mappings(
        self, path: Path, what: str, expected: Mapping[str, Any], found: Mapping[str, Any]
    ) -> Iterator[Difference]:
        for name, value in expected.items():
            if name in found:
                yield from self.differences((*path, name), f"{what}, {name}", value, found[name])
            else:
                yield Difference((*path, name), f"{what}, {name}", value)
        for name in () if self._partial else [name for name in found if name not in expected]:
            yield Difference(path, f"{what}, {name}", NOTHING, found[name])

    def _of_lists(self, path: Path, what: str, expected: list[Any], found: list[Any]) -> Iterator[Difference]:
        if self._partial:
            for at, one in enumerate(expected):
                if not any(self._is_same(one, other) for other in found):
                    yield Difference((*path, at), f"{what}, element {at}", one)
            return
        for at, (one, other) in enumerate(zip(expected, found, strict=False)):
            yield from self.differences((*path, at), f"{what}, element {at}", one, other)
        for at in range(len(found), len(expected)):
            yield Difference((*path, at), f"{what}, element {at}", expected[at])
        for at in range(len(expected), len(found)):
            yield Difference(path, f"{what}, element {at}", NOTHING, found[at])

    def _of_sets(
        self, path: Path, what: str, expected: list[Any], found: frozenset[Any]
    ) -> Iterator[Difference]:
        left = set(found)
        for at, one in enumerate(expected):
            there = next((other for other in left if self.same(one, other)), None)
            if there is None:
                yield Difference((*path, at), f"{what}, an element", one)
            left.discard(there)
        for other in () if self._partial else sorted(left, key=str):
            yield Difference(path, f"{what}, an element", NOTHING, other)

    def _is_same(self, expected: Any, found: Any) -> bool:
        return not any(self.differences((), "", expected, found))


class Texts(Comparison):
    """Of hashes, strings, lists, sets and entries; numbers are scores, positions, vectors and samples."""

    def same(self, expected: Any, found: Any) -> bool:
        """By the text that the value would have."""
        if isinstance(found, int | float) and not isinstance(found, bool):
            return _is_number(expected) and math.isclose(expected, found, rel_tol=NEAR)
        if isinstance(expected, list) and isinstance(found, bytes) and _is_vector(expected, found):
            return True
        try:
            return as_bytes(to_hash(expected)) == as_bytes(found)
        except ProjectionError:
            return False


class Entries(Texts):
    """Of change feeds."""

    def _of_mappings(
        self, path: Path, what: str, expected: Mapping[str, Any], found: Mapping[str, Any]
    ) -> Iterator[Difference]:
        compared = {name: value for name, value in found.items() if name != OPTIONAL or name in expected}
        return super()._of_mappings(path, what, expected, compared)


class JsonValues(Comparison):
    """Of JSON documents: numbers by value, and true is no number."""

    def same(self, expected: Any, found: Any) -> bool:
        """By the value that JSON would have."""
        try:
            said = to_json(expected)
        except ProjectionError:
            return False
        if isinstance(said, bool) or isinstance(found, bool):
            return said is found
        return bool(said == found)


class BsonValues(Comparison):
    """Of documents in MongoDB: by type and value. An integer that is written plainly is one of either size."""

    def same(self, expected: Any, found: Any) -> bool:
        """As MongoDB stores them."""
        if type(expected) is int:
            return type(found) in (int, Int64) and expected == found
        return type(expected) is type(found) and bool(expected == found)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _is_vector(expected: list[Any], found: bytes) -> bool:
    """Whether bytes are these numbers, in either width that a vector has."""
    if not all(map(_is_number, expected)):
        return False
    for code, size in (("f", 4), ("e", 2)):
        if len(found) == size * len(expected):
            try:
                return struct.pack(f"<{len(expected)}{code}", *expected) == found
            except (struct.error, OverflowError):
                return False
    return False
