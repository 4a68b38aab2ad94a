"""A Redis type is known to its module and to the two lists of types, and nowhere else is there a branch on one."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path
from typing import get_args

import pytest

from syncd.contract.model.redis.redis_types import TYPE_RULES, RedisType
from syncd.plan.types import TYPES, Captured, Merged, Written
from syncd.plan.types.base import Form
from syncd.plan.types.members.base import MemberForm

SYNCD = Path(__file__).parents[2] / "syncd"
LUA = SYNCD / "stores" / "redis" / "lua"
HOMES = (SYNCD / "plan" / "types", SYNCD / "contract" / "model" / "redis" / "redis_types.py")
LUA_HOMES = {
    "operations.lua",
    "operations/arrays.lua",
    "operations/expiring.lua",
    "operations/feeds.lua",
    "operations/matched.lua",
    "operations/members.lua",
    "operations/vectors.lua",
    "operations/shared_hashes.lua",
    "types.lua",
}

NAMES = {*TYPES, *(one.redis for one in TYPES.values())}
ALSO_OTHER_THINGS = {"string", "json", "geo", "timeseries"}
"""Types of fields are called so as well, forms of output, and a kind of collection."""
OTHER_THINGS = {
    "output",
    "spec.type",
    "field_type",
    "one.field.type",
    "entry",
    "collection_type",
    "found[0].get('type')",
}
"""What is compared with those names and is no Redis type."""
_OF_A_TYPE = re.compile(r"syncd\.plan\.types\.(?!base$)")


def branches(tree: ast.AST) -> Iterator[tuple[int, str]]:
    """Line and text of what chooses by the name of a type: comparisons, cases, and tables of nothing but types."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Compare):
            found = {name for part in (node.left, *node.comparators) for name in names_in(part)}
            if found - ALSO_OTHER_THINGS or (found and ast.unparse(node.left) not in OTHER_THINGS):
                yield node.lineno, ast.unparse(node)
        elif isinstance(node, ast.match_case) and any(map(names_in, ast.walk(node.pattern))):
            yield node.pattern.lineno, ast.unparse(node.pattern)
        elif isinstance(node, ast.Dict):
            keys = [key.value if isinstance(key, ast.Constant) else None for key in node.keys]
            if set(keys) - ALSO_OTHER_THINGS and all(key in NAMES for key in keys):
                yield node.lineno, ast.unparse(node)
        elif isinstance(node, ast.ImportFrom) and _OF_A_TYPE.match(node.module or ""):
            yield node.lineno, ast.unparse(node)


def names_in(node: ast.AST) -> set[str]:
    """Names of types that stand there alone, in a set, a tuple or a list, or with something added to them."""
    if isinstance(node, ast.BinOp):
        return names_in(node.left) | names_in(node.right)
    parts = node.elts if isinstance(node, ast.Set | ast.Tuple | ast.List) else [node]
    if isinstance(node, ast.MatchValue):
        parts = [node.value]
    return {part.value for part in parts if isinstance(part, ast.Constant) and part.value in NAMES}


def is_home(file: Path) -> bool:
    return any(file == home or home in file.parents for home in HOMES)


def test_no_branch_on_a_type_outside_its_module() -> None:
    """What depends on the Redis type of a key is asked of the type."""
    found = [
        f"{file.relative_to(SYNCD.parent)}:{line}: {text}"
        for file in sorted(SYNCD.rglob("*.py"))
        if not is_home(file)
        for line, text in branches(ast.parse(file.read_text(encoding="utf-8")))
    ]
    assert found == []


def test_no_branch_on_a_type_in_lua_outside_the_tables() -> None:
    """What is written to a key of which type stands in `operations.lua` and files of `operations/`; how one is read, in
    `types.lua`."""
    quoted = re.compile("|".join(f"'{re.escape(name)}'" for name in sorted(NAMES)))
    found = [
        f"{file.name}:{number}: {line.strip()}"
        for file in sorted(LUA.rglob("*.lua"))
        if str(file.relative_to(LUA)) not in LUA_HOMES
        for number, line in enumerate(file.read_text(encoding="utf-8").splitlines(), 1)
        if quoted.search(line.partition("--")[0])
    ]
    assert found == []


@pytest.mark.parametrize(
    ("text", "is_one"),
    [
        ('kind == "hash"', True),
        ('shape.type != "json"', True),
        ('found in ("list", b"x")', True),
        ('{"hash": 1, "ReJSON-RL": 2}', True),
        ('kind == "timeseries" + SHARED', True),
        ('{"stream": 1, "timeseries": 2}', True),
        ('{"json": 1, "geo": 2}', False),
        ("match kind:\n  case 'set': pass", True),
        ("from syncd.plan.types.json import Json", True),
        ('spec.type == "json"', False),
        ('spec.type == "hash"', True),
        ('{"json": 1, "int": 2}', False),
        ('call(type="hash")', False),
        ("from syncd.plan.types.base import Form", False),
    ],
)
def test_the_rule_itself(text: str, is_one: bool) -> None:
    """What counts as a branch."""
    assert bool(list(branches(ast.parse(text)))) is is_one


def test_both_lists_know_the_same_types() -> None:
    """What a contract may name has a module, and the other way round."""
    assert set(get_args(RedisType)) == set(TYPE_RULES) == set(TYPES)


@pytest.mark.parametrize("name", TYPES)
def test_what_a_contract_may_say_has_a_form(name: str) -> None:
    """A type that may go a way has what it takes for each content that it may have, and no form too many."""
    rules, one = TYPE_RULES[name], TYPES[name]  # type: ignore[index]
    forms: dict[str, Form | None] = {"fields": one.fields, "value": one.value}
    for content, form in forms.items():
        assert (form is not None) is (rules.content in (content, "either"))
        if form is not None:
            assert isinstance(form, Written) is rules.to_redis
            assert isinstance(form, Captured) is rules.captured
            assert isinstance(form, Merged) is (rules.merged == content)
    assert isinstance(one.member, MemberForm) is (rules.member is not None or rules.content == "sample")


def test_types_that_go_to_mongodb_can_be_read_in_lua() -> None:
    """Each has its table in `types.lua`, and no other has one."""
    text = (LUA / "types.lua").read_text(encoding="utf-8")
    tables = {
        plain or quoted
        for plain, quoted in re.findall(r"^types(?:\.(\w+)|\['(.+?)'\]) = ", text, re.MULTILINE)
    }
    captured = {
        one.redis
        for one in TYPES.values()
        if any(isinstance(form, Captured) for form in (one.fields, one.value, one.each_member))
    }
    assert tables == captured
