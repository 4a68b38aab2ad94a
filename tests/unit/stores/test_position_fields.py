"""The fields of a position are named in one place."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

SYNCD = Path(__file__).parents[3] / "syncd"


def literals(source: str) -> Iterator[str]:
    """Texts that a call names behind the key of a position, or hands to a mapping that goes there."""
    for call in ast.walk(ast.parse(source)):
        if not isinstance(call, ast.Call):
            continue
        names = [one.attr if isinstance(one, ast.Attribute) else "" for one in call.args]
        if "position" in names:
            behind = call.args[names.index("position") + 1 :]
            yield from texts(behind)
        if isinstance(call.func, ast.Name) and call.func.id == "read_fields":
            yield from texts(call.args)


def texts(values: list[ast.expr]) -> Iterator[str]:
    return (one.value for one in values if isinstance(one, ast.Constant) and isinstance(one.value, str))


def test_no_field_is_named_by_its_letters() -> None:
    """Outside of `records/position.py`: a slip of the pen in one of two places would be a field that is never read."""
    found = {
        str(file.relative_to(SYNCD)): list(literals(file.read_text(encoding="utf-8")))
        for file in sorted(SYNCD.rglob("*.py"))
        if file != SYNCD / "stores" / "redis" / "records" / "position.py"
    }
    assert {file: names for file, names in found.items() if names} == {}


@pytest.mark.parametrize(
    ("line", "names"),
    [
        ("client.hmget(keys.position, 'batch', 'since')", ["batch", "since"]),
        ("client.hset(self._keys.position, 'doubt', entry)", ["doubt"]),
        ("client.hget(ControlKeys(name).position, Fields.OWNED)", []),
        ("read_fields(store, keys, 'heard')", ["heard"]),
    ],
)
def test_the_rule_itself(line: str, names: list[str]) -> None:
    """Whichever command it is."""
    assert list(literals(line)) == names
