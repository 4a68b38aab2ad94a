"""Debian's packages, unpacked into a folder without being installed."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Callable
from pathlib import Path

from tests.support.programs.needed import NotFound

COMMAND_TIMEOUT = 120  # seconds
LISTS = Path(__file__).parents[3] / ".cache" / "apt"
"""What apt makes of its lists of packages. Containers keep none, and each call would make it again, for 2 s of CPU."""


def unpacked(cache: Path, packages: list[str], *, finish: Callable[[Path], None] = lambda _: None) -> Path:
    """These packages in a folder. Downloads and unpacks beside the cache first, so that two test runs do not see each
    other's halves. Raises NotFound."""
    if cache.exists():
        return cache
    if shutil.which("apt-get") is None or shutil.which("dpkg") is None:
        raise NotFound(f"no apt-get to download {packages[0]} with")
    cache.parent.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(dir=cache.parent) as folder:
        root = Path(folder) / "root"
        try:
            unpack(root, packages)
        except (OSError, subprocess.SubprocessError) as error:
            raise NotFound(f"Debian's package {packages[0]} cannot be had: {error}") from None
        finish(root)
        if not cache.exists():
            root.rename(cache)
    return cache


def unpack(root: Path, packages: list[str]) -> None:
    if not packages:
        return
    root.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as downloads:
        _apt(["download", "-q", *packages], Path(downloads))
        for package in Path(downloads).glob("*.deb"):
            run(["dpkg", "-x", package, root])


def with_dependencies(packages: list[str]) -> list[str]:
    """These packages, and those that they need and that are not installed. Raises NotFound."""
    try:
        said = _apt(["install", "-s", "--no-install-recommends", *packages])
    except (OSError, subprocess.SubprocessError) as error:
        raise NotFound(f"Debian's packages {', '.join(packages)} cannot be had: {error}") from None
    return sorted({*packages, *re.findall(r"^Inst (\S+)", said, re.MULTILINE)})


def _apt(arguments: list[str], cwd: Path | None = None) -> str:
    """A fresh container has no package lists; then they are read first."""
    LISTS.mkdir(parents=True, exist_ok=True)
    kept = [f"-oDir::Cache::{name}={LISTS / name}.bin" for name in ("pkgcache", "srcpkgcache")]
    try:
        return run(["apt-get", *kept, *arguments], cwd=cwd)
    except subprocess.CalledProcessError:
        if os.geteuid() != 0:
            raise
        run(["apt-get", "update", "-q"])
        return run(["apt-get", *kept, *arguments], cwd=cwd)


def run(command: list[str | Path], cwd: Path | None = None, env: dict[str, str] | None = None) -> str:
    done = subprocess.run(
        command,
        cwd=cwd,
        env={**os.environ, **(env or {})},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=True,
        timeout=COMMAND_TIMEOUT,
    )
    return done.stdout
