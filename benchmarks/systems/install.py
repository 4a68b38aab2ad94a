"""Other people's products, installed on demand: each into a folder of its own, nothing into this environment."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).parents[2]
CACHE = ROOT / ".cache" / "bench"
TIMEOUT_S = 900.0


class NotInstalled(Exception):
    """A product cannot be had here. Says why; the run goes on without it."""


def python(name: str, packages: Sequence[str]) -> Path:
    """The Python of an environment that holds the packages."""
    folder = CACHE / name
    found = folder / "bin" / "python"
    if not _is_done(folder, packages):
        shutil.rmtree(folder, ignore_errors=True)
        _run([sys.executable, "-m", "venv", str(folder)])
        _run([str(found), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", *packages])
        _done(folder, packages)
    return found


def node(name: str, packages: Sequence[str]) -> Path:
    """The `node_modules` that holds the packages."""
    _need("node")
    _need("npm")
    folder = CACHE / name
    if not _is_done(folder, packages):
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        _run(["npm", "install", "--prefix", str(folder), "--no-audit", "--no-fund", *packages])
        _done(folder, packages)
    return folder / "node_modules"


def need_java(version: int) -> None:
    """Raise `NotInstalled` where there is no Java of that version or a later one."""
    _need("java")
    said = subprocess.run(["java", "-version"], capture_output=True, text=True, check=False).stderr
    number = re.search(r'version "(\d+)', said)
    if number is None or int(number[1]) < version:
        raise NotInstalled(f"needs Java {version}; this is {said.splitlines()[0] if said else 'another'}")


def _need(program: str) -> None:
    if shutil.which(program) is None:
        raise NotInstalled(f"there is no `{program}` on the PATH")


def _is_done(folder: Path, packages: Sequence[str]) -> bool:
    mark = folder / ".installed"
    return mark.exists() and mark.read_text() == "\n".join(packages)


def _done(folder: Path, packages: Sequence[str]) -> None:
    (folder / ".installed").write_text("\n".join(packages))


def _run(command: list[str]) -> None:
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=TIMEOUT_S, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise NotInstalled(f"{command[0]}: {error}") from None
    if done.returncode:
        lines = (done.stderr or done.stdout).strip().splitlines()
        raise NotInstalled(f"{' '.join(command[:4])}: {lines[-1] if lines else done.returncode}")
