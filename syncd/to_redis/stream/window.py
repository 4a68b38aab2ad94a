"""Some consecutive changes of a stream.

A window is what one atomic call applies, together with the position behind its last change. Coalescing never reaches
across windows: a crash leaves either all of a window or nothing of it, so no key can show a state that the stored
position has not reached, except through reads, and those are in the read watermark (see watermarks).
"""

from __future__ import annotations

from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from typing import NamedTuple

from syncd.stores.mongo.reads.lookup import Found
from syncd.stores.mongo.store import Document
from syncd.stores.mongo.times import Moment

DATA_OPS = frozenset({"insert", "update", "replace", "delete"})


class Ahead(NamedTuple):
    """Documents that were read before the lane came to their changes: of `idents` those that are there."""

    idents: AbstractSet[str]
    found: Found


@dataclass(frozen=True, slots=True)
class Window:
    """Consecutive events of one stream."""

    events: list[Document]
    token: Document
    time: Moment
    ahead: Ahead | None = None
