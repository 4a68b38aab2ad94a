"""Imports inside syncd point one way only, and the plan touches nothing outside itself."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

SYNCD = Path(__file__).parents[2] / "syncd"

# Left may be imported by right, never the other way round, and never between two names of one row.
ORDER = (
    {"__init__"},
    {"text"},
    {"errors"},
    {"tracebacks"},
    {"telemetry", "settings"},
    {"contract"},
    {"plan"},
    {"stores"},
    {"lanes", "executors"},
    {"to_redis", "to_mongo", "reconcile"},
    {"both"},
    {"daemon", "preview"},
    {"ops"},
    {"demo"},
    {"cli"},
    {"__main__"},
)
LEVEL = {name: level for level, names in enumerate(ORDER) for name in names}
OUTBOX = "outbox"  # for applications: knows nothing of syncd, and nothing of syncd knows it
EMBEDDED = "embedded"  # stands apart: knows errors only, and only the demo and the command line know it

# What would make a plan depend on a server, a clock, chance or the machine.
IMPURE_MODULES = {
    "asyncio", "hiredis", "http", "os", "pymongo", "random", "redis", "secrets", "shutil", "signal",
    "socket", "subprocess", "tempfile", "threading", "time", "urllib",
}  # fmt: skip
IMPURE_CALLS = {
    "now", "utcnow", "today", "uuid1", "uuid4", "open", "read_text", "write_text", "read_bytes",
    "write_bytes", "print",
}  # fmt: skip


class Import(NamedTuple):
    file: Path
    line: int
    module: str

    def __str__(self) -> str:
        return f"{self.file.relative_to(SYNCD.parent)}:{self.line} imports {self.module}"

    @property
    def importer(self) -> str:
        """The package or module right under syncd/ that the file belongs to."""
        return self.file.relative_to(SYNCD).parts[0].removesuffix(".py")

    @property
    def imported(self) -> str | None:
        """The same for what is imported; None when that is not syncd's."""
        first, *rest = self.module.split(".")
        if first != "syncd":
            return None
        return rest[0] if rest else "__init__"


def imports(file: Path) -> Iterator[Import]:
    """Every import of a file, at any depth: inside functions and under TYPE_CHECKING too."""
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            yield from (Import(file, node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = from_base(file, node)
            # `from syncd import errors` names the module only in the alias
            names = [f"{base}.{alias.name}" for alias in node.names] if base == "syncd" else [base]
            yield from (Import(file, node.lineno, name) for name in names)


def from_base(file: Path, node: ast.ImportFrom) -> str:
    if node.level == 0:
        return node.module or ""
    package = ["syncd", *file.relative_to(SYNCD).parts[:-1]]
    parents = package[: len(package) - node.level + 1]
    return ".".join([*parents, node.module] if node.module else parents)


def is_allowed(importer: str, imported: str) -> bool:
    if importer == imported:
        return True
    if OUTBOX in (importer, imported):
        return False
    if importer == EMBEDDED:
        return imported in {"errors", "__init__"}
    if imported == EMBEDDED:
        return LEVEL[importer] >= LEVEL["demo"]
    if imported not in LEVEL:  # `from syncd import __version__`
        return imported.startswith("__")
    return LEVEL[imported] < LEVEL[importer]


def source_files() -> list[Path]:
    return sorted(SYNCD.rglob("*.py"))


def test_every_package_has_its_place() -> None:
    """A new package must be put into ORDER before anything else."""
    found = {file.relative_to(SYNCD).parts[0].removesuffix(".py") for file in source_files()}
    assert found - LEVEL.keys() - {EMBEDDED, OUTBOX} == set()


def test_imports_point_one_way() -> None:
    """errors <- telemetry, settings <- contract <- plan <- stores <- ... <- cli."""
    wrong = [
        str(found)
        for file in source_files()
        for found in imports(file)
        if found.imported is not None and not is_allowed(found.importer, found.imported)
    ]
    assert not wrong, "\n".join(wrong)


def test_a_plan_imports_no_driver_no_clock_and_no_system() -> None:
    """What a contract compiles to can be run anywhere, any number of times, with the same result."""
    wrong = [
        str(found)
        for file in sorted((SYNCD / "plan").rglob("*.py"))
        for found in imports(file)
        if found.module.split(".")[0] in IMPURE_MODULES
    ]
    assert not wrong, "\n".join(wrong)


def test_a_plan_reads_no_clock_and_no_file() -> None:
    """`datetime` is a type there and `datetime.now()` is not."""
    wrong = [
        f"{file.relative_to(SYNCD.parent)}:{node.lineno} calls {name}()"
        for file in sorted((SYNCD / "plan").rglob("*.py"))
        for node in ast.walk(ast.parse(file.read_text()))
        if isinstance(node, ast.Call) and (name := called_name(node)) in IMPURE_CALLS
    ]
    assert not wrong, "\n".join(wrong)


def called_name(call: ast.Call) -> str | None:
    match call.func:
        case ast.Name(id=name) | ast.Attribute(attr=name):
            return name
    return None


@pytest.mark.parametrize(
    ("importer", "imported", "allowed"),
    [
        ("plan", "contract", True),
        ("contract", "plan", False),
        ("to_redis", "reconcile", False),
        ("outbox", "errors", False),
        ("to_redis", "stores", True),
        ("embedded", "errors", True),
        ("embedded", "settings", False),
        ("daemon", "embedded", False),
        ("demo", "embedded", True),
        ("cli", "embedded", True),
        ("cli", "__version__", True),
    ],
)
def test_the_rule_itself(importer: str, imported: str, allowed: bool) -> None:
    """Directions as the design draws them."""
    assert is_allowed(importer, imported) is allowed


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("import syncd.plan.keys.templates", ["plan"]),
        ("from syncd import errors, settings", ["errors", "settings"]),
        ("from syncd.plan import keys", ["plan"]),
        ("from ..plan.keys import render", ["plan"]),
        ("from . import model", ["contract"]),
        ("def late():\n    from syncd.stores import mongo", ["stores"]),
        ("import json", [None]),
    ],
)
def test_every_way_to_import_is_seen(
    line: str, expected: list[str | None], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Absolute, relative, and inside a function."""
    file = tmp_path / "syncd/contract/model.py"
    file.parent.mkdir(parents=True)
    file.write_text(line)
    monkeypatch.setitem(globals(), "SYNCD", tmp_path / "syncd")
    assert [found.imported for found in imports(file)] == expected
