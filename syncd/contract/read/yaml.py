"""YAML 1.2 text to a `Source`.

`NO` and `on` are text, and keys are always text (`null:` names a field). What would let a file mean something other
than it shows is refused: duplicate keys, anchors, aliases, merge keys, tags, a second document.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import islice
from typing import Any

import yaml
from yamlcore import CCoreLoader

from syncd.contract.read.environment import expand
from syncd.contract.read.source import Path, Place, Source, place_of
from syncd.errors import Problem

_DEEPEST = 50
"""Levels of nesting. MongoDB refuses queries beyond 100; some hundreds would end the interpreter's stack."""

_MOST_REFUSED = 1000
"""Aliases of one file that are reported."""
_LARGEST_NUMBER = 2**63
"""What neither store holds as an integer."""

_REMEDIES = {
    "mapping values are not allowed in this context": "check the indentation; quote a value that holds `: `",
    "did not find expected key": "check the indentation, and close brackets and quotes on the lines before",
    "found character that cannot start any token": "indent with spaces; quote what begins with a sign",
    "did not find expected ',' or ']'": "close the bracket, and quote values that hold commas or brackets",
    "did not find expected ',' or '}'": 'close the brace; quote values with commas or braces, as "${VAR}"',
    "found unexpected end of stream": "close the quote",
}
_REMEDY = "check the indentation, the quotes and the brackets here"


def read_source(file: str, content: bytes, env: Mapping[str, str]) -> tuple[Source | None, list[Problem]]:
    """Read one file. Without a source nothing more can be said about it."""
    try:
        # The byte order mark that some editors write is no content.
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        place = _place_at(content[: error.start].decode("utf-8", "replace"))
        return None, [Problem(file, *place, "not UTF-8 text", "save the file as UTF-8")]
    if refused := _refused(file, text):
        return None, refused
    loader = CCoreLoader(text)
    root = loader.get_single_node()
    if root is None:
        remedy = "write a contract here (`syncd init db.collection` drafts one), or remove the file"
        return None, [Problem(file, 1, 1, "the file is empty", remedy)]
    walk = _Walk(file, loader, env)
    value = walk.read(root, ())
    source = Source(file, text, value, walk.nodes, walk.keys, frozenset(walk.failed))
    return source, [*walk.problems, *(_problem_inside(source, *mistake) for mistake in walk.mistakes)]


def _refused(file: str, text: str) -> list[Problem]:
    """Syntax errors, and what nodes no longer show: composing resolves aliases and forgets anchors."""
    problems = []
    try:
        for event, what, remedy in islice(_refusals(text), _MOST_REFUSED):
            problems.append(Problem(file, *place_of(event), what, remedy))
    except yaml.YAMLError as error:
        problems.append(_syntax_problem(file, text, error))
    return problems


def _refusals(text: str) -> Iterator[tuple[yaml.Event, str, str]]:
    depth = documents = 0
    for event in yaml.parse(text, Loader=CCoreLoader):
        if isinstance(event, yaml.DocumentStartEvent):
            documents += 1
            if documents == 2:
                yield event, "a second document in the file", "give every contract a file of its own"
        elif isinstance(event, yaml.AliasEvent):
            yield event, f"the alias `*{event.anchor}`", "repeat the value, for contracts have no aliases"
        elif isinstance(event, yaml.NodeEvent):
            yield from _refused_properties(event)
        depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
        if depth > _DEEPEST:
            yield event, f"nested more than {_DEEPEST} levels deep", "write it flatter"
            return


def _refused_properties(event: yaml.NodeEvent) -> Iterator[tuple[yaml.Event, str, str]]:
    if event.anchor:
        yield event, f"the anchor `&{event.anchor}`", "remove it, for contracts have no aliases"
    if tag := getattr(event, "tag", None):
        yield event, f"the tag `{tag}`", "remove it, and quote a value that is text"


def _syntax_problem(file: str, text: str, error: yaml.YAMLError) -> Problem:
    if isinstance(error, yaml.reader.ReaderError):
        # The C reader counts bytes.
        place = _place_at(text.encode()[: error.position].decode("utf-8", "replace"))
        return Problem(
            file, *place, "a control character", "remove the character, or write it as an escape in quotes"
        )
    if not isinstance(error, yaml.MarkedYAMLError) or error.problem_mark is None:
        return Problem(file, 1, 1, "not YAML", _REMEDY)
    what = f"not YAML: {', '.join(filter(None, (error.context, error.problem)))}"
    place = _place_of_mistake(text, error.problem_mark, error.context_mark)
    return Problem(file, *place, what, _REMEDIES.get(error.problem or "", _REMEDY))


def _place_of_mistake(text: str, found: yaml.Mark, began: yaml.Mark | None) -> Place:
    """What is never closed shows at the end of the file; where it began, or the last character, says more."""
    end = len(text.rstrip())
    for place in (found, began):
        if place is not None and place.index < end:
            return place.line + 1, place.column + 1
    return _place_at(text[: max(end - 1, 0)])


def _problem_inside(source: Source, path: Path, offset: int, what: str, remedy: str) -> Problem:
    return Problem(source.file, *source.locate_inside(offset, *path), what, remedy)


def _place_at(before: str) -> Place:
    return before.count("\n") + 1, len(before) - (before.rfind("\n") + 1) + 1


class _Walk:
    """One pass over the nodes of a file: values, places, and the mistakes on the way."""

    def __init__(self, file: str, loader: CCoreLoader, env: Mapping[str, str]) -> None:
        self._file = file
        self._loader = loader
        self._env = env
        self.nodes: dict[Path, yaml.Node] = {}
        self.keys: dict[Path, Place] = {}
        self.failed: list[Path] = []
        self.problems: list[Problem] = []
        self.mistakes: list[tuple[Path, int, str, str]] = []

    def read(self, node: yaml.Node, path: Path) -> Any:
        self.nodes[path] = node
        if isinstance(node, yaml.ScalarNode):
            return self._scalar(node, path)
        if isinstance(node, yaml.MappingNode):
            return self._mapping(node, path)
        return [self.read(item, (*path, index)) for index, item in enumerate(node.value)]

    def _mapping(self, node: yaml.MappingNode, path: Path) -> dict[str, Any]:
        values: dict[str, Any] = {}
        for key_node, value_node in node.value:
            if refusal := self._refused_key(key_node, (*path, key_node.value)):
                self.problems.append(Problem(self._file, *place_of(key_node), *refusal))
                continue
            key = (*path, key_node.value)
            self.keys[key] = place_of(key_node)
            values[key_node.value] = self.read(value_node, key)
        return values

    def _refused_key(self, node: yaml.Node, path: Path) -> tuple[str, str] | None:
        if not isinstance(node, yaml.ScalarNode):
            return "a key that is not text", 'quote it, as in "{_id}": value'
        if not node.style and node.value in ("", "<<"):
            what = "a merge key" if node.value else "a key without a name"
            return what, "write the keys out" if node.value else "write a name before the colon, or quote it"
        if "${" in node.value:
            return "a variable in a key", "write the key out (only values take variables)"
        if path in self.keys:
            line, column = self.keys[path]
            return f"the key `{node.value}` again", f"keep one of the two (the first is at {line}:{column})"
        return None

    def _scalar(self, node: yaml.ScalarNode, path: Path) -> Any:
        if "${" not in node.value:
            return self._construct(node, path)
        expansion = expand(node.value, self._env)
        if expansion.misuses:
            self.failed.append(path)
            self.mistakes += [(path, m.offset, m.what, m.remedy) for m in expansion.misuses]
            return None
        # A plain `${TTL:-5}` may be a number; a quoted one is text, and so is one with text around it.
        plain = expansion.alone and not node.style and "\n" not in expansion.text
        tag = self._loader.resolve(yaml.ScalarNode, expansion.text, (plain, not plain))
        return self._construct(yaml.ScalarNode(tag, expansion.text, node.start_mark), path)

    def _construct(self, node: yaml.ScalarNode, path: Path) -> Any:
        try:
            value = self._loader.construct_object(node)
        except ValueError:  # of thousands of digits
            return self._too_long(node, path)
        # A filter is checked as a whole: MongoDB has wider numbers.
        if isinstance(value, int) and abs(value) >= _LARGEST_NUMBER and path[:2] != ("mongo", "filter"):
            return self._too_long(node, path)
        return value

    def _too_long(self, node: yaml.ScalarNode, path: Path) -> None:
        self.failed.append(path)
        remedy = "write a number of 64 bits, or quote the text"
        self.problems.append(Problem(self._file, *place_of(node), "a number that is too long", remedy))
