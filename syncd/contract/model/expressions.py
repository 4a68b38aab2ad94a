"""What JMESPath expressions read of a document."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, TypeAlias

Node: TypeAlias = Mapping[str, Any]
"""Of a parsed expression."""
_FROM_THE_LEFT = frozenset(
    {
        "subexpression", "index_expression", "projection", "value_projection", "filter_projection", "pipe", "flatten",
        "key_val_pair",
    }
)  # fmt: skip
"""What stands on the right of these is evaluated on the result of the left, not on the document."""


def names_read(node: Node) -> frozenset[str] | None:
    """The top-level fields that an expression reads, or None when it may read any."""
    paths = set(paths_read(node))
    return None if () in paths else frozenset(path[0] for path in paths)


def paths_read(node: Node) -> Iterator[tuple[str, ...]]:
    """The paths that an expression begins with; an empty one where it may read the whole document."""
    kind, children = node["type"], node.get("children", [])
    if (chain := _chain(node)) is not None:
        yield chain
    elif kind in ("current", "identity", "index", "slice"):
        yield ()
    else:
        for child in children[:1] if kind in _FROM_THE_LEFT else children:
            yield from paths_read(child)


def _chain(node: Node) -> tuple[str, ...] | None:
    """Of names joined by dots; None for anything else."""
    if node["type"] == "field":
        return (node["value"],)
    if node["type"] != "subexpression":
        return None
    parts = [_chain(child) for child in node["children"]]
    found = [part for part in parts if part is not None]
    return tuple(name for part in found for name in part) if len(found) == len(parts) else None
