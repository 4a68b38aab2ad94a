"""YAML files as values with places."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from syncd.contract.read.source import Source
from syncd.contract.read.yaml import read_source


def read(text: str | bytes, **env: str) -> Source:
    source, problems = read_source("f", text if isinstance(text, bytes) else text.encode(), env)
    assert problems == []
    assert source is not None
    return source


def told(text: str | bytes, **env: str) -> list[str]:
    _, problems = read_source("f", text if isinstance(text, bytes) else text.encode(), env)
    return [str(problem) for problem in problems]


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("no", "no"), ("on", "on"), ("0o17", 15), ("017", 17), ("1_000", "1_000"), ("12:30", "12:30"),
        ("2024-01-31", "2024-01-31"), ("~", None), ("true", True), ("1e3", 1000.0), ("'5'", "5"), ("5", 5),
    ],
)  # fmt: skip
def test_scalars_are_those_of_yaml_1_2(text: str, value: Any) -> None:
    """`no` is text, 017 is seventeen, and a date is text."""
    assert read(f"a: {text}").value == {"a": value}


def test_keys_are_text() -> None:
    """A field may be called null, 1 or true; in quotes, also nothing or <<."""
    assert read("{null: a, 1: b, true: c}").value == {"null": "a", "1": "b", "true": "c"}
    assert read("{'': a, '<<': b}").value == {"": "a", "<<": "b"}


def test_a_byte_order_mark_is_no_content() -> None:
    """Editors write one."""
    assert read(b"\xef\xbb\xbfa: 1").value == {"a": 1}


def test_values_and_keys_have_places() -> None:
    """Lines and columns count from 1; what is not there has the place of what is around it."""
    source = read("a: 1\nb:\n  - c: x\n    d: [y, z]\n")
    assert source.locate("a") == (1, 4)
    assert source.locate_key("b") == (2, 1)
    assert source.locate("b", 0, "d", 1) == (4, 12)
    assert source.locate_key("b", 0, "d") == (4, 5)
    assert source.locate("b", 0, "gone", 3) == (3, 5)
    assert source.locate_key("gone") == (1, 1)


def test_an_entry_of_a_list_may_be_addressed_by_its_text() -> None:
    """`fields: [title, year]` is a mapping in the model."""
    source = read("fields: [title, year]")
    assert source.locate("fields", "year") == (1, 17)
    assert source.written("fields", "year") == "year"


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("a: xyz", (1, 6)),
        ("a: 'xyz'", (1, 7)),
        ('a: "xyz"', (1, 7)),
        ('a: "\\u0078yz"', (1, 4)),
        ("a: |\n  xyz", (1, 4)),
        ("é: xyz", (1, 6)),
    ],
)
def test_characters_inside_a_scalar_have_places(text: str, place: tuple[int, int]) -> None:
    """Where the text stands as it is; else the place is where it begins."""
    source = read(text)
    (key,) = source.value
    assert source.locate_inside(2, key) == place


def test_a_block_has_the_place_of_its_sign() -> None:
    """Its lines are indented, so no character of it is counted."""
    assert read("a: |\n  xyz").locate_inside(0, "a") == (1, 4)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("a: ${N}", 5), ("a: '${N}'", "5"), ("a: ${N}d", "5d"), ("a: ${T:-true}", True), ("a: ${E}", None),
        ("a: ${LINE}", "true\n"), ("a: $${N}", "${N}"), ("a: [x, '${N}']", ["x", "5"]),
        ("a: ${DATE}", "2024-01-31"),
    ],
)  # fmt: skip
def test_a_plain_variable_may_be_a_number(text: str, value: Any) -> None:
    """One in quotes, or with text around it, is text."""
    assert read(text, N="5", E="", LINE="true\n", DATE="2024-01-31").value == {"a": value}


def test_a_variable_is_written_as_the_file_has_it() -> None:
    """So that a message cannot show a secret."""
    source = read("a: ${TOKEN}", TOKEN="hush")
    assert source.value == {"a": "hush"}
    assert source.written("a") == "${TOKEN}"
    assert source.has_variable("a")


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        (b"a: \xff", "f:1:4: not UTF-8 text; save the file as UTF-8"),
        (b"a: 1\nb: \xc3\xa9\xe9", "f:2:5: not UTF-8 text; save the file as UTF-8"),
        ("x: é: \x01", "f:1:7: a control character; "
                       "remove the character, or write it as an escape in quotes"),
        ("", "f:1:1: the file is empty; write a contract here (`syncd init db.collection` drafts one), "
             "or remove the file"),
        ("a: [1", "f:1:4: not YAML: while parsing a flow sequence, did not find expected ',' or ']'; "
                  "close the bracket, and quote values that hold commas or brackets"),
        ("a: b: c", "f:1:5: not YAML: mapping values are not allowed in this context; "
                    "check the indentation; quote a value that holds `: `"),
        ("a: 1\n---\nb: 2", "f:2:1: a second document in the file; give every contract a file of its own"),
        ("a: {x: 1,\n  y: 2, x: 3}", "f:2:9: the key `x` again; keep one of the two (the first is at 1:5)"),
        ("a: !!str 5", "f:1:4: the tag `tag:yaml.org,2002:str`; remove it, and quote a value that is text"),
        ("? [a]\n: 3", 'f:1:3: a key that is not text; quote it, as in "{_id}": value'),
        ("<<: {a: 1}", "f:1:1: a merge key; write the keys out"),
        ("?\n: 1", "f:1:2: a key without a name; write a name before the colon, or quote it"),
        ("${A}: 1", "f:1:1: a variable in a key; write the key out (only values take variables)"),
        ("a: " + "9" * 5000, "f:1:4: a number that is too long; "
                             "write a number of 64 bits, or quote the text"),
        ("[" * 51 + "]" * 51, "f:1:51: nested more than 50 levels deep; write it flatter"),
        ("a: 'x ${GONE}'", "f:1:7: the variable `GONE` is not set; "
                           "set GONE in the environment, or give a default: ${GONE:-...}"),
        ("{a: ${N}}", "f:1:6: not YAML: while parsing a flow mapping, did not find expected ',' or '}'; "
                      'close the brace; quote values with commas or braces, as "${VAR}"'),
    ],
)  # fmt: skip
def test_what_cannot_be_read_is_told_with_its_place_and_remedy(text: str | bytes, problem: str) -> None:
    """One line each."""
    assert told(text) == [problem]


def test_all_that_is_refused_is_told_at_once() -> None:
    """Anchors, aliases and the syntax error behind them."""
    assert [line.split(";")[0] for line in told("a: &x 1\nb: *x\nc: [")] == [
        "f:1:4: the anchor `&x`",
        "f:2:4: the alias `*x`",
        "f:3:4: not YAML: while parsing a flow node, did not find expected node content",
    ]


@given(st.text(max_size=60) | st.binary(max_size=40) | st.text("{}[]:,-'\"&*!|>%@`#? \n\ta1$~", max_size=30))
@settings(max_examples=400)
def test_any_content_is_read_or_told(content: str | bytes) -> None:
    """Never an exception; without a source there is a problem."""
    raw = content if isinstance(content, bytes) else content.encode("utf-8", "surrogatepass")
    source, problems = read_source("f", raw, {})
    assert source is not None or problems
