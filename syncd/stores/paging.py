"""Many things as pages of some."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import islice
from typing import TypeVar

Item = TypeVar("Item")


def paged(items: Iterable[Item], size: int) -> Iterator[list[Item]]:
    """All items in order, `size` a page, the last one shorter; no empty page."""
    rest = iter(items)
    while page := list(islice(rest, size)):
        yield page
