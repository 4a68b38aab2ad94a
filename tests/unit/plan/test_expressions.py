"""Expressions have an end: what they make, and how long they take."""

from __future__ import annotations

import time
import tracemalloc

import jmespath
import pytest

from syncd.errors import ProjectionError
from syncd.plan import expressions
from syncd.plan.expressions import evaluate

DOCUMENT = {"a": "x" * 10, "many": [{"n": n, "t": ["x"]} for n in range(2000)], "text": "y" * 1000}


@pytest.mark.parametrize(
    "expression",
    [
        "a" + "|[@,@]" * 36,
        "a" + "|{a:@,b:@}" * 36,
        "a" + "|[@,@][]" * 36,
        "a|[@]" + "|[@,@]|[][]" * 40,
        "to_string(a" + "|[@,@]" * 36 + ")",
        "[a,a]" + "|[@,@]" * 36 + " == `[1]`",
        "a" + "|[@,@]" * 18 + "|[@,@]" * 18 + "|contains(@, 'x')",
        "text" + "|join('',[@,@])" * 36,
        "text" + "|join('',[@,@,@,@])" * 20 + "|length(@)",
        "a|[@]" + "|[*].[@,@]" * 36,
        "{a:a}" + "|{a:@,b:@}|*" * 30,
        "[a]" + "|map(&[@,@],@)" * 36,
        "merge({a:a},{b:a})" + "|merge(@,{c:@,d:@})" * 36,
    ],
)
def test_what_grows_without_end_is_refused(monkeypatch: pytest.MonkeyPatch, expression: str) -> None:
    """Soon, and without the memory that it asks for."""
    monkeypatch.setattr(expressions, "MOST_STEPS", 100_000)
    monkeypatch.setattr(expressions, "LARGEST_RESULT", 1024 * 1024)
    began = time.process_time()
    with pytest.raises(ProjectionError, match="expression"):
        evaluate(jmespath.compile(expression).parsed, DOCUMENT)
    assert time.process_time() - began < 20


def test_a_long_separator_is_checked_before_it_is_put_between_many_texts() -> None:
    """Of a document of 16 MB it would make terabytes, and the daemon would end with every contract in it."""
    tracemalloc.start()
    try:
        with pytest.raises(ProjectionError, match="more than 16 MB"):
            evaluate(jmespath.compile("join(a, b)").parsed, {"a": "x" * 20_000, "b": ["y"] * 20_000})
        assert tracemalloc.get_traced_memory()[1] < 50_000_000
    finally:
        tracemalloc.stop()


def test_work_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """An expression that asks for each pair of many elements ends."""
    monkeypatch.setattr(expressions, "MOST_STEPS", 10_000)
    with pytest.raises(ProjectionError, match="steps"):
        evaluate(jmespath.compile("many[*].t[?length(@) > `0`]").parsed, DOCUMENT)


@pytest.mark.parametrize(
    ("expression", "wanted"),
    [
        ("a", "x" * 10),
        ("many[?n > `1997`].n", [1998, 1999]),
        ("length(many)", 2000),
        ("join('-', [a, a])", "xxxxxxxxxx-xxxxxxxxxx"),
        ("sum(many[*].n)", 1999000),
        ("[a, a]|[@, @]|[0]", ["x" * 10] * 2),
        ("missing", None),
    ],
)
def test_what_people_write_is_the_same(expression: str, wanted: object) -> None:
    """The bounds change no result."""
    assert evaluate(jmespath.compile(expression).parsed, DOCUMENT) == wanted
