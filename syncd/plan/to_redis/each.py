"""One document, many keys: a shape of the elements of an array. Pure.

The fields of an element are found in a *view* of its document, in which the path of the array holds the element alone.
So a projection of elements is one of documents, once a view: every type of field, mask and expression works as it does
elsewhere.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from syncd.contract.model.redis.projection import Projection
from syncd.contract.model.redis.template import is_below
from syncd.errors import ProjectionError
from syncd.plan.misfits import Misfits
from syncd.plan.to_redis.change import Drop, Elements, Put
from syncd.plan.to_redis.fields import Field
from syncd.plan.to_redis.shape import Shape, refuse_unfit

MOST_ELEMENTS = 20_000
"""Of one document, whose keys are written in one step: the application's reads wait behind it."""


class View(dict[str, Any]):
    """A document in which the path of an array holds one of its elements."""

    position: int


class EachShape(Shape):
    """A compiled projection with `each`."""

    each = True

    def __init__(self, projection: Projection, hmac_key: bytes | None, misfits: Misfits) -> None:
        assert projection.each is not None
        self._array, self._parts = projection.each, projection.each.split(".")
        super().__init__(projection, hmac_key, misfits)

    def _all_reads(self, projection: Projection, fields: list[Field]) -> set[str] | None:
        """The array as a whole: of a path into it MongoDB leaves out elements that are no objects."""
        found = super()._all_reads(projection, fields)
        if found is None:
            return None
        return {path for path in found if not is_below(path, self._array)} | {self._array}

    def key(self, document: Mapping[str, Any]) -> str:
        """There is no single one."""
        raise ProjectionError("unexpected", "a document of this projection has a key for each element")

    def keys(self, document: Mapping[str, Any]) -> set[str]:
        """The keys of those elements that have one, whatever else is wrong with them or their document."""
        found: set[str] = set()
        try:
            views = list(self._views(document))
        except ProjectionError:
            return found
        for view in views:
            try:
                found.add(self._render(view))
            except ProjectionError:
                continue
        return found

    def put(self, ident: str, document: Mapping[str, Any], time: str) -> Elements | Drop:
        """All keys of the document. One that lacks an element, or has one that does not fit, raises ProjectionError: no
        key of it changes then."""
        refuse_unfit(document)
        puts: list[Put] = []
        numbers: dict[str, int] = {}
        for view in self._views(document):
            try:
                one = self._put_one(ident, view, time)
            except ProjectionError as error:
                raise self._of_element(view.position, error) from None
            assert one.key is not None
            if (other := numbers.setdefault(one.key, view.position)) != view.position:
                what = f"elements {other} and {view.position} of `{self._array}` have the same key"
                raise ProjectionError("equal_keys", what)
            if type(one) is Put:
                puts.append(one)
        return Elements(self, ident, tuple(puts), time) if puts else Drop(self, ident, None)

    def _of_element(self, position: int, error: ProjectionError) -> ProjectionError:
        return ProjectionError(error.reason, f"element {position} of `{self._array}`: {error.detail}")

    def _views(self, document: Mapping[str, Any]) -> Iterator[View]:
        above: Any = document
        *parents, name = self._parts
        for part in parents:
            above = above.get(part)
            if isinstance(above, list):
                what = f"`{self._array}` leads through an array, and names an array in one object"
                raise ProjectionError("not_an_array", what)
            if not isinstance(above, dict):
                return
        elements = above.get(name)
        if elements is None:
            return
        if not isinstance(elements, list):
            raise ProjectionError("not_an_array", f"`{self._array}` is no array")
        if len(elements) > MOST_ELEMENTS:
            what = f"`{self._array}` has more than {MOST_ELEMENTS} elements, which one step cannot write"
            raise ProjectionError("too_many_elements", what)
        for position, element in enumerate(elements):
            view = View(document)
            view.position = position
            at: dict[str, Any] = view
            for part in parents:
                at[part] = {**at[part]}
                at = at[part]
            at[name] = element
            yield view


def shape_of(projection: Projection, hmac_key: bytes | None, misfits: Misfits) -> Shape:
    """A projection compiled."""
    kind = Shape if projection.each is None else EachShape
    return kind(projection, hmac_key, misfits)
