"""`faults.md`: from the docstrings of tests, read as text; nothing of it is imported or run."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

from generator.text import code, head, table

ROOT = Path(__file__).parents[2]
FAULTS = ROOT / "tests" / "faults"
PARTS = ROOT / "tests" / "integration"
GUARDS = Path(__file__).parent / "guards.md"
PROMISES = (
    "nothing_lost", "never_backwards", "never_torn", "no_ghosts", "fenced", "applied_once", "no_echo",
    "nothing_silent", "bounded",
)  # fmt: skip
_FAULTS_INTRO = """\
Every test of `tests/faults/`: the promise of [promises.md](promises.md) that it tests, the fault that it makes, and
what it proves. After them come those tests of `tests/integration/` that name a promise: odd input, values that must
stay exact, keys and indexes that others write, mistakes in a contract. All run against real servers. Where a test runs
once for each of several named cases, these are listed below its table. A test, or cases, marked with "at scale 2" run
with `SYNCD_TEST_SCALE=2` alone: in every run another one makes a fault of that kind. The end shows what the tests are
worth: which of them fails when a guard is taken out of the code.

"""
_PREFIX = re.compile(rf"((?:{'|'.join(PROMISES)})(?:, (?:{'|'.join(PROMISES)}))*): (.*)", re.DOTALL)


def faults_page() -> str:
    """Every fault test by file, the tests of parts that name a promise, then the hand-kept table of guards."""
    text = head("Faults", "`tests/faults/` and `tests/integration/`") + _FAULTS_INTRO
    for path in sorted(FAULTS.glob("test_*.py")):
        module = _parsed(path)
        text += _section(path, module, _tests(module)) + "\n"
    for path in sorted(PARTS.glob("test_*.py")):
        module = _parsed(path)
        if tests := [test for test in _tests(module) if _names_promise(test)]:
            text += _section(path, module, tests) + "\n"
    return text + GUARDS.read_text(encoding="utf-8")


def _parsed(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


def _tests(module: ast.Module) -> list[ast.FunctionDef]:
    return [node for node in module.body if isinstance(node, ast.FunctionDef) and _is_test(node)]


def _names_promise(test: ast.FunctionDef) -> bool:
    return _PREFIX.fullmatch(" ".join((ast.get_docstring(test) or "").split())) is not None


def _section(path: Path, module: ast.Module, tests: list[ast.FunctionDef]) -> str:
    named = _named_cases(module)
    cases = {test.name: found for test in tests if (found := list(_cases(test, named)))}
    rows = [_row(module, test) for test in tests]
    link = f"[`{path.name}`](../{path.relative_to(ROOT)})"
    text = f"## {link}\n\n{_words(module)}\n\n" + table(("promise", "test", "fault and fact"), rows)
    for test, found in cases.items():
        text += f"\nCases of {code(test)}:\n\n" + "".join(f"- {case}\n" for case in found)
    return text


def _is_test(node: ast.FunctionDef) -> bool:
    return node.name.startswith("test_")


def _row(module: ast.Module, test: ast.FunctionDef) -> tuple[str, ...]:
    said = _words(test)
    match = _PREFIX.fullmatch(said)
    promises = match[1] if match else _promises_of_file(module)
    said = match[2] if match else said
    return promises, code(test.name) + _at_scale(test), said[0].upper() + said[1:]


def _at_scale(test: ast.FunctionDef) -> str:
    """What stands behind a test that a run of every day leaves out, or of which it leaves out some cases."""
    decorators = [ast.unparse(one) for one in test.decorator_list]
    found = [text.partition("at_scale")[2] for text in decorators if "at_scale" in text]
    return "" if not found else " (some cases at scale 2)" if found[0] else " (at scale 2)"


def _promises_of_file(module: ast.Module) -> str:
    """What its docstring begins with, or else all that it names."""
    if match := _PREFIX.fullmatch(_words(module)):
        return match[1]
    return ", ".join(re.findall(rf"\b(?:{'|'.join(PROMISES)})\b", _words(module)))


def _words(node: ast.Module | ast.FunctionDef) -> str:
    """The docstring in one line; raises where there is none."""
    said = ast.get_docstring(node)
    if not said:
        raise ValueError(f"no docstring: {getattr(node, 'name', 'a file of tests')}")
    return " ".join(said.split())


def _named_cases(module: ast.Module) -> dict[str, list[str]]:
    """The keys of every dictionary of the module that has text for keys, by its name."""
    found = {}
    for node in module.body:
        target = node.targets[0] if isinstance(node, ast.Assign) else getattr(node, "target", None)
        value = getattr(node, "value", None)
        if isinstance(target, ast.Name) and isinstance(value, ast.Dict):
            keys = [key.value for key in value.keys if isinstance(key, ast.Constant)]
            if keys and all(isinstance(key, str) for key in keys):
                found[target.id] = [str(key) for key in keys]
    return found


def _cases(test: ast.FunctionDef, named: dict[str, list[str]]) -> Iterator[str]:
    names = [
        n.id for decorator in test.decorator_list for n in ast.walk(decorator) if isinstance(n, ast.Name)
    ]
    for name in dict.fromkeys(names):
        yield from named.get(name, ())
