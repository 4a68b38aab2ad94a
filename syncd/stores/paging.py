"""Many things as pages of some."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from typing import TypeVar

Item = TypeVar("Item")


def paged(items: Iterable[Item], size: int) -> Iterator[list[Item]]:
    """All items in order, `size` a page, the last one shorter; no empty page."""
    rest = iter(items)
    while page := list(islice(rest, size)):
        yield page


def fitting(
    items: Iterable[Item], size_of: Callable[[Item], int], most_bytes: int, most: int | None = None
) -> Iterator[list[Item]]:
    """All items in order, in parts that are no larger than this, and no longer; a larger item has a part of its own."""
    part: list[Item] = []
    size = 0
    for item in items:
        more = size_of(item)
        if part and (size + more > most_bytes or len(part) == most):
            yield part
            part, size = [], 0
        part.append(item)
        size += more
    if part:
        yield part
