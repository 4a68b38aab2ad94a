"""What came of tests, for people and programs: lines of text, JSON, and the XML that JUnit writes. Pure."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from itertools import groupby
from typing import Any
from xml.etree import ElementTree as Xml

from bson import json_util

from syncd.contract.read.source import Place
from syncd.preview.compare import NOTHING, Difference
from syncd.preview.shown import readable
from syncd.preview.trial import Verdict
from syncd.text import clipped, escaped

LONGEST = 300
"""Characters of a value in text; JSON has all of it."""


def as_lines(verdict: Verdict) -> Iterator[str]:
    """A line for a test, and of one that failed what differs, with its place in the file."""
    yield f"{verdict.status.upper()} {name_of(verdict)}"
    if verdict.why:
        yield f"  {verdict.why}"
    for one in verdict.differences:
        line, column = place_of(verdict, one)
        yield f"  {verdict.test.source.file}:{line}:{column}: {one.what}"
        if one.expected is not NOTHING:
            yield f"    - {_text(one.expected)}"
        if one.found is not NOTHING:
            yield f"    + {_text(one.found)}"
    if verdict.differences:
        yield "  (- is what the test expects, + is what came of it)"


def name_of(verdict: Verdict) -> str:
    """Contract and test."""
    return f"{verdict.test.contract.contract.name}: {verdict.test.test.name}"


def place_of(verdict: Verdict, difference: Difference) -> Place:
    """Line and column of what was expected, or of what is around it."""
    test = verdict.test
    return test.source.locate_key(*test.path, *difference.path)


def plain(value: Any) -> Any:
    """A value as JSON has it, with Extended JSON for what JSON does not know."""
    if isinstance(value, dict):
        return {str(name): plain(one) for name, one in value.items()}
    if isinstance(value, bytes | frozenset):
        return readable(value)
    if isinstance(value, list):
        return [plain(one) for one in value]
    return json.loads(json_util.dumps(value, json_options=json_util.RELAXED_JSON_OPTIONS))


def _text(value: Any) -> str:
    said = plain(value)
    return clipped(said if isinstance(said, str) else json.dumps(said, ensure_ascii=False), LONGEST)


def as_dict(verdict: Verdict) -> dict[str, Any]:
    """For `-o json`."""
    test = verdict.test
    line, column = test.source.locate(*test.path)
    found: dict[str, Any] = {
        "contract": test.contract.contract.name,
        "name": test.test.name,
        "status": verdict.status,
    }
    found |= {"file": test.source.file, "line": line, "column": column}
    if verdict.why:
        found["why"] = verdict.why
    return {**found, "differences": [_difference(verdict, one) for one in verdict.differences]}


def _difference(verdict: Verdict, one: Difference) -> dict[str, Any]:
    line, column = place_of(verdict, one)
    found: dict[str, Any] = {"line": line, "column": column, "what": one.what}
    sides = {"expected": one.expected, "found": one.found}
    return found | {name: plain(value) for name, value in sides.items() if value is not NOTHING}


def as_junit(verdicts: Iterable[Verdict]) -> str:
    """A suite for each contract."""
    root = Xml.Element("testsuites")
    for name, group in groupby(verdicts, lambda one: one.test.contract.contract.name):
        some = list(group)
        counts = {"tests": len(some), "errors": 0}
        counts |= {word: sum(one.status == status for one in some) for word, status in _COUNTED.items()}
        suite = Xml.SubElement(root, "testsuite", {"name": name} | {key: str(n) for key, n in counts.items()})
        for one in some:
            _add(suite, one)
    Xml.indent(root)
    return '<?xml version="1.0" encoding="utf-8"?>\n' + Xml.tostring(root, encoding="unicode") + "\n"


_COUNTED = {"failures": "failed", "skipped": "skipped"}


def _add(suite: Xml.Element, verdict: Verdict) -> None:
    test = verdict.test
    line, _ = test.source.locate(*test.path)
    about = {"classname": test.contract.contract.name, "name": escaped(test.test.name)}
    case = Xml.SubElement(suite, "testcase", {**about, "file": test.source.file, "line": str(line)})
    _, *lines = map(escaped, as_lines(verdict))
    if verdict.status == "skipped":
        Xml.SubElement(case, "skipped", {"message": verdict.why})
    elif verdict.status == "failed":
        failure = Xml.SubElement(case, "failure", {"message": escaped(verdict.differences[0].what)})
        failure.text = "\n".join(lines)
