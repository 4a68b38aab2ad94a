"""What errors mean to those that handle them, and that what guards a promise raises one."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

from syncd.errors import (
    FencedError,
    InvariantError,
    LaterNumberError,
    ProjectionError,
    SettingsError,
    TransientError,
    is_about_input,
    why_unfit,
)

SYNCD = Path(__file__).parents[2] / "syncd"


def narrows_a_type(test: ast.expr) -> bool:
    """`x is not None`, `isinstance(x, T)`, its opposite, and any of them joined by `and`."""
    match test:
        case ast.Compare(ops=[ast.IsNot()], comparators=[ast.Constant(value=None)]):
            return True
        case ast.Call(func=ast.Name(id="isinstance")):
            return True
        case ast.UnaryOp(op=ast.Not(), operand=operand):
            return narrows_a_type(operand)
        case ast.BoolOp(op=ast.And(), values=values):
            return all(map(narrows_a_type, values))
    return False


def asserts(source: str) -> Iterator[ast.Assert]:
    return (node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Assert))


def test_assert_only_narrows_a_type() -> None:
    """`python -O` leaves `assert` out, so whatever guards a promise raises an error instead."""
    wrong = [
        f"{file.relative_to(SYNCD.parent)}:{node.lineno}: {ast.unparse(node)}"
        for file in sorted(SYNCD.rglob("*.py"))
        if "assert" in file.read_text()  # parsing all of them takes seconds
        for node in asserts(file.read_text())
        if not narrows_a_type(node.test)
    ]
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize(
    ("line", "is_fine"),
    [
        ("assert a is not None", True),
        ("assert isinstance(a, B) and c.d is not None", True),
        ("assert not isinstance(a, B | C)", True),
        ("assert a.behind", False),
        ("assert a is not None and b", False),
        ("assert a < b", False),
        ("assert a is not b", False),
    ],
)
def test_the_rule_itself(line: str, is_fine: bool) -> None:
    """What narrows a type, and what does more."""
    (found,) = asserts(line)
    assert narrows_a_type(found.test) is is_fine


def test_a_bug_is_no_input_s() -> None:
    """What no input is to blame for makes no dead letter, however it is narrowed down."""
    assert not is_about_input(InvariantError("two and two is five"))
    assert is_about_input(ProjectionError("other", "-"))
    assert is_about_input(KeyError("whatever a value does"))
    assert why_unfit(KeyError("whatever a value does")).reason == "unexpected"
    for error in (
        InvariantError("two and two is five"),
        TransientError("mongo", "away"),
        SettingsError("no key"),
    ):
        with pytest.raises(type(error)):
            why_unfit(error)


def test_a_fence_names_its_store() -> None:
    """The lease is Redis's; the number that fences a daemon off in MongoDB is MongoDB's."""
    assert FencedError("lost", "").store == "redis"
    assert LaterNumberError(7).store == "mongo"
