"""Key templates: their grammar, and which of them can meet."""

from __future__ import annotations

import re
from itertools import product

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from syncd.contract.model.redis.template import KeyTemplate, TemplateError
from syncd.contract.model.redis.template_overlap import overlaps
from syncd.contract.model.values import KeyType

pieces = st.one_of(st.text("ab:", min_size=1, max_size=3), st.sampled_from(["{_id}", "{a.b}", "{{", "}}"]))
templates = st.lists(pieces, max_size=5).map("".join).map(KeyTemplate.parse)


def pattern(template: KeyTemplate) -> re.Pattern[str]:
    """An independent reading of a template: as a regular expression."""
    return re.compile("[^:{}]*".join(map(re.escape, template.literals)), re.DOTALL)


def test_a_template_is_literals_around_paths() -> None:
    """There is always one literal more than there are paths."""
    template = KeyTemplate.parse("{tenant}:user:{_id.nr}")
    assert template.literals == ("", ":user:", "")
    assert template.paths == ("tenant", "_id.nr")


def test_doubled_braces_are_literal() -> None:
    """A cluster's hash tag is written with them."""
    template = KeyTemplate.parse("{{{tenant}}}:{_id}")
    assert template.literals == ("{", "}:", "")
    assert template.paths == ("tenant", "_id")


def test_the_prefix_ends_at_the_first_placeholder() -> None:
    """Without a placeholder it is the whole key."""
    assert KeyTemplate.parse("movie:{_id}:x").prefix == "movie:"
    assert KeyTemplate.parse("all").prefix == "all"


@pytest.mark.parametrize(
    ("text", "by_id"), [("m:{_id}", True), ("{_id}:{_id}", True), ("m:{_id}:{slug}", False), ("m", False)]
)
def test_a_key_is_by_id_when_nothing_else_is_in_it(text: str, by_id: bool) -> None:
    """Then a deletion, which carries `_id` alone, names its key."""
    assert KeyTemplate.parse(text).by_id is by_id


@pytest.mark.parametrize(
    ("text", "separated"),
    [("{a}:{b}", True), ("{a}{b}", False), ("{a}-{b}", False), ("{a}}}{b}", True), ("x{a}y", True)],
)
def test_values_stay_apart_only_behind_what_they_never_hold(text: str, separated: bool) -> None:
    """`a-b` and `c` meet `a` and `b-c` in the template {a}-{b}."""
    assert KeyTemplate.parse(text).separated is separated


@pytest.mark.parametrize(
    ("text", "position", "what"),
    [
        ("movie:{_id", 6, "a `{` that is not closed"),
        ("movie:_id}", 9, "a `}` without its `{`"),
        ("movie:{}", 6, "not a field path in braces"),
        ("movie:{a..b}", 6, "not a field path in braces"),
        ("movie:{$a}", 6, "not a field path in braces"),
        ("movie:{ _id }", 6, "a space inside the braces"),
        ("movie:{a{b}}", 6, "a `{` that is not closed"),
    ],
)
def test_what_is_no_template_is_told_with_its_place(text: str, position: int, what: str) -> None:
    """The text of the error is `what at character N|remedy`."""
    with pytest.raises(TemplateError) as caught:
        KeyTemplate.parse(text)
    assert caught.value.position == position
    told, _, remedy = str(caught.value).partition("|")
    assert told == f"{what} at character {position + 1}"
    assert "{" in remedy


@pytest.mark.parametrize(
    ("one", "other", "example"),
    [
        ("movie:{_id}", "movie:{slug}", "movie:1"),
        ("movie:{_id}", "movie:{_id}:x", None),
        ("{a}:x", "user:{b}", "user:x"),
        ("{a}", "all", "all"),
        ("m:{a}{{", "m:{a}", None),
        ("m:{a}b", "m:a{b}", "m:ab"),
        ("m:{a}", "m:", "m:"),
        ("movies:{_id}", "movie:{_id}", None),
    ],
)
def test_templates_that_meet_are_told_by_a_key(one: str, other: str, example: str | None) -> None:
    """In either order."""
    a, b = KeyTemplate.parse(one), KeyTemplate.parse(other)
    assert overlaps(a, b) == overlaps(b, a) == example


@given(templates, templates)
@settings(max_examples=300)
def test_an_example_is_a_key_of_both(a: KeyTemplate, b: KeyTemplate) -> None:
    """As a regular expression reads the two templates."""
    example = overlaps(a, b)
    assert example is None or (pattern(a).fullmatch(example) and pattern(b).fullmatch(example))


SHORT_KEYS = ["".join(letters) for length in range(6) for letters in product("ab:{", repeat=length)]


@given(templates, templates)
@settings(max_examples=150, deadline=None)
def test_no_example_means_that_no_key_fits_both(a: KeyTemplate, b: KeyTemplate) -> None:
    """Compared with every key of up to five characters."""
    if overlaps(a, b) is None:
        one, other = pattern(a), pattern(b)
        assert not [key for key in SHORT_KEYS if one.fullmatch(key) and other.fullmatch(key)]


free_pieces = st.one_of(
    st.text("ab:{", min_size=1, max_size=3).map(lambda text: text.replace("{", "{{")),
    st.sampled_from(["{_id}", "{a.b}", "{c*}", "}}"]),
)
free_templates = st.builds(
    lambda text, values: KeyTemplate.parse(text).having(values, {}),
    st.lists(free_pieces, max_size=5).map("".join),
    st.sampled_from(["encoded", "text"]),
)


def free_pattern(template: KeyTemplate) -> re.Pattern[str]:
    """An independent reading of a template whose values may hold more."""
    values = {
        (False, False): "[^:{}]*", (False, True): "[^:]*", (True, False): "[^{}]*", (True, True): ".*",
    }  # fmt: skip
    parts = [re.escape(template.literals[0])]
    for one, literal in zip(template.placeholders, template.literals[1:], strict=True):
        parts += [values[one.starred, one.as_text], re.escape(literal)]
    return re.compile("".join(parts), re.DOTALL)


@given(free_templates, free_templates)
@settings(max_examples=150, deadline=None)
def test_templates_whose_values_hold_more_meet_where_a_key_does(a: KeyTemplate, b: KeyTemplate) -> None:
    """An example is a key of both, and without one no key of up to five characters is."""
    example, one, other = overlaps(a, b), free_pattern(a), free_pattern(b)
    if example is not None:
        assert one.fullmatch(example)
        assert other.fullmatch(example)
        assert a.fits(example.encode())
    else:
        assert not [key for key in SHORT_KEYS if one.fullmatch(key) and other.fullmatch(key)]


@given(free_templates, st.sampled_from(["int", "epoch", None]))
def test_a_record_says_all_of_a_template(template: KeyTemplate, kind: KeyType | None) -> None:
    """What is read of Redis is the template that a contract had, and another one is not taken for it."""
    said = template.having("text", {} if kind is None else {"_id": kind})
    for one in (template, said):
        assert KeyTemplate.recorded(one.text) == one
    assert (said.text == template.text) == (said == template)


@given(
    st.lists(st.text("ab-", max_size=3), min_size=2, max_size=2),
    st.lists(st.text("ab-", max_size=3), min_size=2, max_size=2),
)
def test_separated_values_never_give_one_key(one: list[str], other: list[str]) -> None:
    """The key tells them apart."""
    literals = KeyTemplate.parse("m:{a}:-{b}").literals
    render = [literals[0] + a + literals[1] + b + literals[2] for a, b in (one, other)]
    assert (render[0] == render[1]) == (one == other)
