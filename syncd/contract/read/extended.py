"""Extended JSON in those parts of a file that hold values of MongoDB: the filter, and documents of tests."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from syncd.contract.model.extjson import decode
from syncd.contract.read.source import Path, Source
from syncd.errors import Problem

_OF_TESTS = ("given", "before", "document")


def decoded(source: Source) -> tuple[Source, list[Problem]]:
    """The source with what Extended JSON stands for; the rest of the file is left as it is."""
    problems, failed = list[Problem](), list[Path]()

    def report(path: Path, what: str, remedy: str) -> None:
        failed.append(path)
        problems.append(Problem(source.file, *source.locate_key(*path), what, remedy))

    value = source.value
    for path in _places(value):
        value = _with(value, path, decode(_at(value, path), path, report))
    return replace(source, value=value, failed=source.failed | frozenset(failed)), problems


def _places(value: Any) -> Iterator[Path]:
    if not isinstance(value, dict):
        return
    if isinstance(mongo := value.get("mongo"), dict) and "filter" in mongo:
        yield "mongo", "filter"
    tests = value.get("tests")
    for at, test in enumerate(tests if isinstance(tests, list) else ()):
        if isinstance(test, dict):
            yield from (("tests", at, name) for name in _OF_TESTS if name in test)


def _at(value: Any, path: Path) -> Any:
    for part in path:
        value = value[part]
    return value


def _with(value: Any, path: Path, new: Any) -> Any:
    """A copy, with another value at a place."""
    if not path:
        return new
    first, rest = path[0], path[1:]
    copy: Any = dict(value) if isinstance(value, dict) else list(value)
    copy[first] = _with(value[first], rest, new)
    return copy
