"""Rules about filters and expressions."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.unit.contract.contracts import contract, load, projection, told


def filtered(query: str) -> str:
    """A filter that begins on line 7, column 34."""
    return contract(mongo=f"collection: a.b, filter: {query}")


def computed(expression: str) -> str:
    """An expression that begins on line 12, column 24."""
    return contract(projection(f"{{a: {{expr: {expression}}}}}"))


@pytest.mark.parametrize(
    ("query", "problem"),
    [
        ("{$where: x}", "7:35: `$where` runs JavaScript in the server; "
                        "write the condition with query operators or $expr"),
        ("{$or: [{a: 1}, {$expr: {$function: {}}}]}",
         "7:58: `$function` runs JavaScript in the server; write the condition with query operators or $expr"),
        ("{a: {$near: [1, 2]}}",
         "7:39: `$near` cannot be combined with the look-ups by _id that syncd makes; use $geoWithin"),
        ("{$text: {$search: x}}", "7:35: `$text` cannot be combined with the look-ups by _id that syncd makes; "
                                  "use $regex, or search in the index"),
        ("{$sampleRate: 0.5}",
         "7:35: `$sampleRate` gives another answer every time; filter on a field of the document"),
        ("{$expr: {$lt: [$a, $$NOW]}}",
         "7:53: `$$NOW` lets a document leave the filter without a change that syncd could see; "
         "compare with a fixed date, or give the projection a ttl: {field: ...}"),
        ("{a: 99999999999999999999}",
         "7:34: MongoDB cannot represent this filter; "
         'use integers of at most 64 bits ({$numberDecimal: "..."} beyond), and names without NUL'),
    ],
)  # fmt: skip
def test_what_a_filter_cannot_hold_is_told_at_its_place(tmp_path: Path, query: str, problem: str) -> None:
    """At the operator itself."""
    assert told(tmp_path, filtered(query)) == [f"a.yaml:{problem}"]


@pytest.mark.parametrize(
    "query",
    [
        "{}",
        "{status: released, year: {$gte: 2000}}",
        "{$or: [{a: {$exists: true}}, {b: {$in: [1, null]}}]}",
        "{a: $$NOW, where: $where}",
        "{place: {$geoWithin: {$centerSphere: [[1, 2], 0.1]}}}",
    ],
)
def test_a_filter_may_use_what_follows_from_the_document(tmp_path: Path, query: str) -> None:
    """And `$$NOW` outside of `$expr` is text."""
    assert load(tmp_path, filtered(query))


@pytest.mark.parametrize(
    ("expression", "problem"),
    [
        ("'a ~ b'", "12:27: not a JMESPath expression: character 3 (`~`) is unexpected; "
                    "see jmespath.org for the language"),
        ("a..b", "12:26: not a JMESPath expression: character 3 (`.`) is unexpected; "
                 "see jmespath.org for the language"),
        ("\"join('-', [a\"", "12:37: not a JMESPath expression: it ends too early; close brackets and quotes"),
        ("'jion(a)'", "12:25: JMESPath has no function `jion`; did you mean join()?"),
        (f"'a{'|[@,@]' * 36}'", "12:24: the expression makes 68,719,476,736 values of one; "
                                "do not repeat a list of what it is given so often"),
        (f"'{'(' * 5000}'", "12:24: `expr` is too long; write at most 4096 characters"),
        (f"'{'(' * 3000}'", "12:24: not a JMESPath expression; see jmespath.org for the language"),
    ],
)  # fmt: skip
def test_an_expression_that_does_not_compile_is_told(tmp_path: Path, expression: str, problem: str) -> None:
    """At the character that is unexpected, where the file has it as it is."""
    assert told(tmp_path, computed(expression)) == [f"a.yaml:{problem}"]


def test_a_function_that_resembles_none_is_told_with_all_of_them(tmp_path: Path) -> None:
    """There are 26."""
    (line,) = told(tmp_path, computed("'[zzz(a)]'"))
    assert line.startswith("a.yaml:12:26: JMESPath has no function `zzz`; known are abs, avg, ceil, ")


def test_the_expression_of_a_string_is_checked_too(tmp_path: Path) -> None:
    """It stands under `value`."""
    text = contract(
        '  - projection: card\n    type: string\n    key: "movie:{_id}"\n    value: {expr: a..b}\n'
    )
    assert [line.split(";")[0] for line in told(tmp_path, text)] == [
        "a.yaml:12:21: not a JMESPath expression: character 3 (`.`) is unexpected"
    ]


@pytest.mark.parametrize(
    "expression",
    ["a", "'a.b[0]'", "\"join('-', [title, to_string(release.year)])\"", "'sort_by(a, &b)[*].c'"],
)
def test_expressions_that_compile_pass(tmp_path: Path, expression: str) -> None:
    """Functions inside of functions too."""
    assert load(tmp_path, computed(expression))
