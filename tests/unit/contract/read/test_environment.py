"""`${VAR}` in contracts."""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from syncd.contract.read.environment import expand

ENV = {"NAME": "movies", "EMPTY": "", "N": "5"}


@pytest.mark.parametrize(
    ("text", "expanded"),
    [
        ("${NAME}", "movies"),
        ("a-${NAME}-${N}", "a-movies-5"),
        ("${GONE:-x}", "x"),
        ("${GONE:-}", ""),
        ("${EMPTY}", ""),
        ("${EMPTY:-x}", "x"),
        ("${NAME:-x}", "movies"),
        ("$${NAME}", "${NAME}"),
        ("$NAME $ $.a", "$NAME $ $.a"),
        ("${GONE:-a:b-c}", "a:b-c"),
    ],
)
def test_variables_are_filled_in(text: str, expanded: str) -> None:
    """As a shell does; `$${` is the characters `${`."""
    expansion = expand(text, ENV)
    assert (expansion.text, expansion.misuses) == (expanded, ())


@pytest.mark.parametrize(
    ("text", "alone"), [("${N}", True), ("${N:-3}", True), ("${N}d", False), ("$${N}", False), ("5", False)]
)
def test_one_variable_alone_is_known_as_such(text: str, alone: bool) -> None:
    """It may be a number then."""
    assert expand(text, ENV).alone is alone


@pytest.mark.parametrize(
    ("text", "offset", "what"),
    [
        ("ab ${GONE}", 3, "the variable `GONE` is not set"),
        ("${N} ${", 5, "a `${` that is not closed"),
        ("${1A}", 0, "not the name of a variable in `${...}`"),
        ("${A-b}", 0, "not the name of a variable in `${...}`"),
        ("${}", 0, "not the name of a variable in `${...}`"),
        ("${BYTES}", 0, "the variable `BYTES` does not hold UTF-8 text"),
    ],
)
def test_what_cannot_be_filled_in_is_told_with_its_offset(text: str, offset: int, what: str) -> None:
    """With a remedy."""
    (misuse,) = expand(text, {**ENV, "BYTES": "\udc80"}).misuses
    assert (misuse.offset, misuse.what) == (offset, what)
    assert misuse.remedy


def test_every_misuse_is_told() -> None:
    """Not only the first."""
    assert [misuse.offset for misuse in expand("${A} ${B} ${N}", ENV).misuses] == [0, 5]


@given(st.text("${}A:-", max_size=12))
def test_any_text_expands_or_is_told(text: str) -> None:
    """Never an exception, and text without `${` stays as it is."""
    expansion = expand(text, {})
    assert "${" in text or expansion.text == text


@pytest.mark.parametrize("text", ["${" * 100_000, "${N}" * 100_000, "${GONE}" * 100_000, "$${" * 100_000])
def test_any_number_of_variables_takes_little_time(text: str) -> None:
    """A file of references, closed or not, is read once from its beginning to its end."""
    began = time.process_time()
    expand(text, ENV)
    assert time.process_time() - began < 1


def test_what_is_filled_in_has_an_end() -> None:
    """A long variable that is named often does not fill the memory."""
    expansion = expand("${NAME}" * 10_000, {"NAME": "x" * 100_000})
    assert len(expansion.text) < 300_000
    assert "more than 65536 characters" in expansion.misuses[0].what
