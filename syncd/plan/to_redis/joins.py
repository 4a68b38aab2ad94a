"""What a contract joins: which documents of other collections belong to a document, and what of them it reads. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from syncd.contract.model.contract import Contract
from syncd.errors import ProjectionError
from syncd.plan.keys.encode import encode_key_value
from syncd.plan.paths import MISSING, getter, server_projection


@dataclass(frozen=True)
class Joined:
    """One join. `local` is a path of the document, or, with a `parent`, of what that join finds."""

    name: str
    namespace: tuple[str, str]
    local: str
    parent: str
    fields: tuple[str, ...]

    filter: ClassVar[None] = None
    source: ClassVar[None] = None

    @property
    def find_projection(self) -> dict[str, int]:
        """For `find`."""
        return server_projection(self.fields)

    @property
    def index(self) -> dict[str, int]:
        """The index that says which documents name one, in the order of their `_id`."""
        return dict.fromkeys([self.local, "_id"], 1)

    def named_by(self, document: Mapping[str, Any]) -> tuple[str, Any] | None:
        """Ident and `_id` of what a document names; None where it names nothing, or has an array there."""
        value = getter(self.local)(document)
        if value is MISSING or value is None:
            return None
        try:
            return encode_key_value(value), value
        except ProjectionError:
            return None  # no document has such an `_id`

    def shown(self, found: Mapping[str, Any]) -> dict[str, Any]:
        """What of a joined document stands in the document."""
        return {name: value for name, value in found.items() if name != "_id" or "_id" in self.fields}


def joins_of(contract: Contract) -> tuple[Joined, ...]:
    """Those of a contract, each behind the one that it goes through."""
    found = []
    for name, join in contract.mongo.with_.items():
        first, _, rest = join.local.partition(".")
        parent = first if rest and first != name and first in contract.mongo.with_ else ""
        database, _, collection = join.collection.partition(".")
        local = rest if parent else join.local
        found.append(Joined(name, (database, collection), local, parent, join.fields))
    return tuple(sorted(found, key=lambda one: bool(one.parent)))


def own_paths(joins: Iterable[Joined], paths: Iterable[str]) -> set[str]:
    """The paths that are read of the document itself, so that these can be found."""
    names = {join.name for join in joins}
    return {path for path in paths if path.partition(".")[0] not in names} | {
        join.local for join in joins if not join.parent
    }
