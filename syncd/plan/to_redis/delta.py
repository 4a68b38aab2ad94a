"""Updates as MongoDB describes them -> fields to set and to remove, without reading the document."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, Final, NamedTuple, TypeAlias

from syncd.errors import ProjectionError
from syncd.plan.paths import prefixes
from syncd.plan.to_redis.change import Delta
from syncd.plan.to_redis.fields import Encode, Field
from syncd.plan.values.codec import OMIT

if TYPE_CHECKING:
    from syncd.plan.to_redis.shape import Shape

Step: TypeAlias = tuple[str, str, Encode, bool]
"""A path, the field it sets, how, and whether text and integers may stay as they are (see `Field.plain`)."""


class Recipe(NamedTuple):
    """What an update of certain paths means for one shape."""

    steps: list[Step]
    removed: frozenset[str]
    leave_out: Any
    """What an encoder gives for a value that is to be left out."""


Recipes: TypeAlias = list[Recipe]

_MAX_REMEMBERED = 4096
"""Sets of updated paths whose meaning is remembered; array indexes make any number of them."""
_MAX_PATHS = 64
"""Larger sets are not remembered: each may be another one."""
_UNKNOWN: Final[Recipes] = []


class DeltaReader:
    """What updates mean for one shape, whose fields are plain paths only."""

    def __init__(self, fields: Iterable[Field], *, as_json: bool, whole: Iterable[str] = ()) -> None:
        """`whole`: paths whose change needs a read, because another path has a part in what it means."""
        self._whole = frozenset(whole)
        self._leave_out = OMIT if as_json else None
        self._by_path: dict[str, list[tuple[str, Encode, bool]]] = {path: [] for path in self._whole}
        for field in fields:
            if field.path is not None:
                step = (field.name, field.encode, field.plain and not as_json)
                self._by_path.setdefault(field.path, []).append(step)
        # Of 5,000 fields and as many updated paths, comparing each with each would take seconds.
        self._prefixes = {prefix for path in self._by_path for prefix in prefixes(path)}

    def recipe(self, updated: Iterable[str], removed: Iterable[str]) -> Recipe | None:
        """What to do when these paths have new values and those are gone; None where a read is needed."""
        steps: list[Step] = []
        gone: list[Step] = []
        for paths, found in ((updated, steps), (removed, gone)):
            for path in paths:
                targets = self._targets(path)
                if targets is None:
                    return None
                found.extend(targets)
        return Recipe(steps, frozenset(name for _, name, _, _ in gone), self._leave_out)

    def ignores(self, path: str) -> bool:
        """Whether a change below `path` changes no field."""
        return self._targets(path) == []

    def _targets(self, path: str) -> list[Step] | None:
        """The fields that a change of `path` sets: none if it does not matter, None if a read is needed."""
        # An element of an array changes every path that walks through the array.
        plain = ".".join(part for part in path.split(".") if not part.isdigit())
        through_array = plain != path and plain in self._by_path
        if (
            through_array
            or plain in self._whole
            or plain in self._prefixes
            or any(above in self._by_path for above in prefixes(plain))
        ):
            return None
        return [(path, *target) for target in self._by_path.get(path, [])]


class Deltas:
    """What updates mean for all shapes of a plan. Remembers what it found for a set of paths."""

    def __init__(self, shapes: Iterable[Shape]) -> None:
        readers = [shape.deltas for shape in shapes]
        self._readers = [reader for reader in readers if reader is not None]
        self._possible = len(self._readers) == len(readers)
        self._remembered: dict[tuple[str | None, ...], Recipes | None] = {}

    def read(self, description: Mapping[str, Any]) -> Delta | None:
        """An `updateDescription` as a delta, or None where the document must be read."""
        updated, removed = description.get("updatedFields") or {}, description.get("removedFields") or ()
        cuts = description.get("truncatedArrays")
        if cuts and not all(reader.ignores(cut["field"]) for cut in cuts for reader in self._readers):
            return None
        recipes = self._remembered.get(paths := (*updated, None, *removed), _UNKNOWN)
        if recipes is _UNKNOWN:
            recipes = self._recipes(updated, removed)
            self._remember(paths, recipes)
        if recipes is None:
            return None
        try:
            return [_follow(recipe, updated) for recipe in recipes]
        except ProjectionError:
            return None  # the read that follows shows which field it is

    def _remember(self, paths: tuple[str | None, ...], recipes: Recipes | None) -> None:
        if len(self._remembered) >= _MAX_REMEMBERED:
            self._remembered.clear()
        if len(paths) <= _MAX_PATHS:
            self._remembered[paths] = recipes

    def _recipes(self, updated: Iterable[str], removed: Iterable[str]) -> Recipes | None:
        if not self._possible:
            return None
        found = [reader.recipe(updated, removed) for reader in self._readers]
        recipes = [recipe for recipe in found if recipe is not None]
        return recipes if len(recipes) == len(found) else None


def _follow(recipe: Recipe, updated: Mapping[str, Any]) -> tuple[dict[str, Any], frozenset[str]]:
    """Fields to set, and names of fields to remove. Raises ProjectionError."""
    steps, removed, leave_out = recipe
    sets: dict[str, Any] = {}
    for path, name, encode, plain in steps:
        value = updated[path]
        kind = type(value)
        if plain and (kind is str or kind is int):
            sets[name] = value
            continue
        encoded = encode(value)
        if encoded is leave_out:
            removed |= {name}
        else:
            sets[name] = encoded
    return sets, removed
