"""One contract file as plain values, with the place of every key and value."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

import yaml

Path: TypeAlias = tuple[str | int, ...]
Place: TypeAlias = tuple[int, int]
"""Line and column, from 1."""


@dataclass(frozen=True, slots=True)
class Source:
    """What one file says and where. `failed` names values that could not be read, reported already."""

    file: str
    text: str
    value: Any
    nodes: Mapping[Path, yaml.Node]
    keys: Mapping[Path, Place]
    failed: frozenset[Path] = frozenset()

    def locate(self, *path: str | int) -> Place:
        """Line and column of a value, or of the nearest value around it."""
        path = self._addressed(path)
        while path and path not in self.nodes:
            path = path[:-1]
        return place_of(self.nodes[path])

    def locate_key(self, *path: str | int) -> Place:
        """Line and column of a key, or of the value where it has no key."""
        return self.keys.get(self._addressed(path)) or self.locate(*path)

    def locate_inside(self, offset: int, *path: str | int) -> Place:
        """Line and column of a character (from 0) of a scalar as written; its beginning where lines fold."""
        line, column = self.locate(*path)
        node = self.nodes.get(self._addressed(path))
        if not isinstance(node, yaml.ScalarNode) or node.style in ("|", ">"):
            return line, column
        quote = 1 if node.style else 0
        before = node.value[:offset]
        same = "\n" not in before and self.text.startswith(before, node.start_mark.index + quote)
        return (line, column + quote + offset) if same else (line, column)

    def written(self, *path: str | int) -> str | None:
        """A scalar as the file has it, before variables are filled in: what messages may show."""
        node = self.nodes.get(self._addressed(path))
        return node.value if isinstance(node, yaml.ScalarNode) else None

    def text_of(self, *path: str | int) -> str | None:
        """A value as the file has it, on one line; None where the file does not say it."""
        node = self.nodes.get(self._addressed(path))
        if node is None and path and path[-1] == "from":  # the short form of a field
            around = self.nodes.get(self._addressed(path[:-1]))
            node = around if isinstance(around, yaml.ScalarNode) else None
        if isinstance(node, yaml.ScalarNode):
            return " ".join(node.value.split())
        if node is None:
            return None
        lines = self.text[node.start_mark.index : node.end_mark.index].splitlines()
        return " ".join(" ".join(line.split()) for line in lines if not line.lstrip().startswith("#")).strip()

    def sort_of(self, *path: str | int) -> str:
        """What sort of value it is, in words."""
        node = self.nodes.get(self._addressed(path))
        if isinstance(node, yaml.MappingNode):
            return "a mapping"
        return "a list" if isinstance(node, yaml.SequenceNode) else "a single value"

    def has_variable(self, *path: str | int) -> bool:
        """True if the environment had a part in a value, which may make it a secret."""
        return "${" in (self.written(*path) or "")

    def _addressed(self, path: Path) -> Path:
        """`fields: [title]` is a mapping in the model, so an entry of a list may be addressed by its text."""
        found: Path = ()
        for part in path:
            node = self.nodes.get(found)
            if isinstance(part, str) and isinstance(node, yaml.SequenceNode):
                texts = [item.value for item in node.value]
                found = (*found, texts.index(part) if part in texts else part)
            else:
                found = (*found, part)
        return found


def place_of(marked: yaml.Node | yaml.Event) -> Place:
    """Where a node or an event begins."""
    place = marked.start_mark
    return (place.line + 1, place.column + 1) if place else (1, 1)
