"""Tests are found by the promise that they serve, and unit tests by the package that they are of."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PROMISES = re.findall(r"^## (\w+)$", (ROOT / "docs/promises.md").read_text(), re.MULTILINE)
NAMED = re.compile(rf"\b({'|'.join(PROMISES)})\b")
PREFIX = re.compile(rf"(?:(?:{'|'.join(PROMISES)})(?:, )?)+:")


def docstring(node: ast.Module | ast.FunctionDef) -> str:
    return " ".join((ast.get_docstring(node) or "").split())


@pytest.mark.parametrize(
    "file", sorted((ROOT / "tests/faults").glob("test_*.py")), ids=lambda file: file.stem
)
def test_a_fault_file_says_which_promises_it_serves(file: Path) -> None:
    """Its docstring names them, by the words of docs/promises.md; among them are those of its tests."""
    module = ast.parse(file.read_text())
    said = set(NAMED.findall(docstring(module)))
    tests = [node for node in module.body if isinstance(node, ast.FunctionDef)]
    found = [PREFIX.match(docstring(test)) for test in tests if test.name.startswith("test_")]
    named = {name for match in found if match for name in NAMED.findall(match[0])}
    assert said, "no promise"
    assert named <= said


@pytest.mark.parametrize(
    "file",
    sorted((ROOT / "tests/unit").glob("*/**/test_*.py")),
    ids=lambda file: f"{file.parent.name}/{file.stem}",
)
def test_a_unit_test_is_where_its_package_is(file: Path) -> None:
    """`tests/unit` has the folders of `syncd`, and what is in one of them is about that package."""
    nodes = list(ast.walk(ast.parse(file.read_text())))
    modules = {node.module or "" for node in nodes if isinstance(node, ast.ImportFrom)}
    modules |= {alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names}
    packages = {name.split(".")[1] for name in modules if name.startswith("syncd.")}
    folder = file.parent.relative_to(ROOT / "tests/unit")
    package = folder.parts[0]
    assert (ROOT / "syncd" / folder).is_dir() or package == "benchmarks"
    assert not packages or package in packages
