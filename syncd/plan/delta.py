"""Updates as MongoDB describes them -> fields to set and to remove, without reading the document."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final, TypeAlias

from syncd.plan.codec import OMIT
from syncd.plan.fields import Encode, Field
from syncd.plan.paths import prefixes

Part: TypeAlias = tuple[dict[str, Any], set[str]]
"""Fields to set, and names of fields to remove."""
Step: TypeAlias = tuple[str, str, Encode]
"""A path, the field it sets, and how."""

_MAX_REMEMBERED = 4096
"""Sets of updated paths whose meaning is remembered; array indexes make any number of them."""
_UNKNOWN: Final[list[Step]] = []


class DeltaReader:
    """For shapes whose fields are plain paths only."""

    def __init__(self, fields: Iterable[Field], *, as_json: bool) -> None:
        self._leave_out = OMIT if as_json else None
        self._by_path: dict[str, list[tuple[str, Encode]]] = {}
        for field in fields:
            if field.path is not None:
                self._by_path.setdefault(field.path, []).append((field.name, field.encode))
        # Of 5,000 fields and as many updated paths, comparing each with each would take seconds.
        self._prefixes = {prefix for path in self._by_path for prefix in prefixes(path)}
        self._remembered: dict[tuple[str, ...], list[Step] | None] = {}

    def read(self, updated: Mapping[str, Any], removed: Iterable[str]) -> Part | None:
        """None where only a read of the document tells. Raises ProjectionError.

        `updated`: path -> new value; `removed`: paths that are gone.
        """
        steps = self._remembered.get(paths := tuple(updated), _UNKNOWN)
        if steps is _UNKNOWN:
            steps = self._remember(paths)
        if steps is None:
            return None
        sets: dict[str, Any] = {}
        gone: set[str] = set()
        for path, name, encode in steps:
            encoded = encode(updated[path])
            if encoded is self._leave_out:
                gone.add(name)
            else:
                sets[name] = encoded
        for path in removed:
            targets = self._targets(path)
            if targets is None:
                return None
            gone.update(name for _, name, _ in targets)
        return sets, gone

    def ignores(self, path: str) -> bool:
        """Whether a change below `path` changes no field."""
        return self._targets(path) == []

    def _remember(self, paths: tuple[str, ...]) -> list[Step] | None:
        if len(self._remembered) >= _MAX_REMEMBERED:
            self._remembered.clear()
        steps: list[Step] | None = []
        for path in paths:
            targets = self._targets(path)
            steps = None if steps is None or targets is None else steps + targets
        self._remembered[paths] = steps
        return steps

    def _targets(self, path: str) -> list[Step] | None:
        """The fields that a change of `path` sets: none if it does not matter, None if only a read can tell."""
        # An element of an array changes every path that walks through the array.
        plain = ".".join(part for part in path.split(".") if not part.isdigit())
        through_array = plain != path and plain in self._by_path
        if (
            through_array
            or plain in self._prefixes
            or any(above in self._by_path for above in prefixes(plain))
        ):
            return None
        return [(path, name, encode) for name, encode in self._by_path.get(path, [])]
