"""Wheels that an environment cannot have beside others, unpacked into a folder each."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path

from tests.support.programs.debian import run
from tests.support.programs.needed import NotFound

CACHE = Path(__file__).parents[3] / ".cache" / "wheels"
PYTHON = "3.11"
"""Whose wheels these are. Only what is not Python is used of them."""


def unpacked(name: str, version: str) -> Path:
    """The files of this wheel. Written beside the cache first, so that two test runs do not see each other's halves.
    Raises NotFound."""
    folder = CACHE / f"{name}-{version}"
    if folder.exists():
        return folder
    CACHE.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=CACHE) as beside:
        root = Path(beside) / "root"
        options = ["--no-deps", "--no-compile", "--only-binary=:all:", "--python-version", PYTHON]
        try:
            command = [sys.executable, "-m", "pip", "install", "-q", *options, "--target", root]
            run([*command, f"{name}=={version}"])
        except (OSError, subprocess.SubprocessError) as error:
            raise NotFound(f"the wheel {name}=={version} cannot be had: {error}") from None
        if not folder.exists():
            root.rename(folder)
    return folder
