"""The lock files: what the image installs is what pyproject.toml asks for, each file by its hash."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import Any

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[2]
LOCKS = ROOT / "deploy" / "lock"
PROJECT: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
ASKED = {
    "requirements.txt": PROJECT["project"]["dependencies"],
    "requirements-dask.txt": [
        *PROJECT["project"]["dependencies"],
        *PROJECT["project"]["optional-dependencies"]["dask"],
    ],
    "build.txt": PROJECT["build-system"]["requires"],
}
HASH = re.compile(r"--hash=sha256:[0-9a-f]{64}")


def locked(name: str) -> dict[str, list[tuple[str, str]]]:
    """Versions of each package with what follows them; several where they depend on the system."""
    found: dict[str, list[tuple[str, str]]] = {}
    text = (LOCKS / name).read_text(encoding="utf-8")
    for package, version, rest in re.findall(
        r"^([\w.-]+)==(\S+)((?:.*\\\n)*.*\n(?:    #.*\n?)*)", text, re.MULTILINE
    ):
        found.setdefault(canonicalize_name(package), []).append((version, rest))
    return found


@pytest.mark.parametrize("name", ASKED)
def test_the_lock_file_has_what_the_project_asks_for(name: str) -> None:
    """Every dependency in a version that pyproject.toml allows, and no other is there for the project's own sake:
    after an edit of pyproject.toml run `make lock`."""
    found = locked(name)
    asked = {canonicalize_name(said.name): said.specifier for said in map(Requirement, ASKED[name])}
    for package, specifier in asked.items():
        assert package in found, f"{package} is not in {name}; run make lock"
        assert all(specifier.contains(version) for version, _ in found[package]), f"{package}; run make lock"
    direct = {
        package
        for package, entries in found.items()
        if any("syncd (pyproject.toml)" in rest or "# via" not in rest for _, rest in entries)
    }
    assert direct == asked.keys()


@pytest.mark.parametrize("name", ASKED)
def test_the_lock_file_names_files_and_no_index(name: str) -> None:
    """Each by its SHA-256, and no address of any machine."""
    text = (LOCKS / name).read_text(encoding="utf-8")
    assert not re.search(r"://|--(?:extra-)?index-url|--find-links|--trusted-host|@ ", text)
    assert all(HASH.search(rest) for entries in locked(name).values() for _, rest in entries)


def test_the_image_installs_from_the_lock_files() -> None:
    """Nothing that it installs is without a hash, and nothing is fetched to build syncd itself."""
    text = (ROOT / "Dockerfile").read_text(encoding="utf-8").replace("\\\n", " ")
    commands = [part for part in re.split(r"&&|\n", text) if re.search(r"\bpip\b.* (?:install|wheel) ", part)]
    assert len(commands) == 4
    for command in commands:
        assert "--require-hashes" in command or "--no-deps" in command, command
    assert all("--no-build-isolation" in command for command in commands if " wheel " in command)
    named = set(re.findall(r"lock/([\w-]+)(?:\$\{[^}]*\})?\.txt", text))
    assert named == {"build", "requirements"}
    extras = set(PROJECT["project"]["optional-dependencies"]) & {"dask"}
    assert {path.name for path in LOCKS.iterdir()} == {
        "build.txt",
        "requirements.txt",
        *(f"requirements-{extra}.txt" for extra in extras),
    }
