"""Every example runs with its one command, and does what its README says."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from syncd.contract.read.load import load_contract_set

ROOT = Path(__file__).parents[2]
EXAMPLES = sorted(path.parent for path in (ROOT / "examples").glob("*/run.py"))
SAID = {
    "chat-sessions": "are in MongoDB, each once, in order, typed",
    "edge-site": "all equal",
    "movies-search": "400 films copied and indexed",
    "profiles-hash": "ok: syncd ended by itself",
}
SMALLER = {
    "chat-sessions": ["--sessions", "4", "--clients", "1", "--seconds", "2", "--kill-every", "1.5"],
    "edge-site": ["--products", "60", "--seconds", "0.5"],
}
LONGEST = 150  # seconds; a slow machine that loads a model and starts three servers


def test_every_example_is_known_here() -> None:
    """One without a line in SAID would be run, and its output never checked."""
    assert {path.name for path in EXAMPLES} == SAID.keys()


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda path: path.name)
def test_the_example_is_complete(example: Path) -> None:
    """A README that names the command, and contracts that pass the checks."""
    assert f"python examples/{example.name}/run.py" in (example / "README.md").read_text(encoding="utf-8")
    assert load_contract_set(example / "contracts", {"SYNCD_SITE": "hill"}).contracts


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda path: path.name)
def test_the_example_runs(example: Path, tmp_path: Path) -> None:
    """From another directory, with nothing set: it starts its own servers, and ends with exit code 0."""
    run = subprocess.run(
        [sys.executable, example / "run.py", *SMALLER.get(example.name, ())],
        cwd=tmp_path,
        env={name: value for name, value in os.environ.items() if not name.startswith("SYNCD_")}
        | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=LONGEST,
        check=False,
    )
    assert run.returncode == 0, run.stdout + run.stderr
    assert SAID[example.name] in run.stdout
