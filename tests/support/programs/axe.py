"""Finds axe-core, which checks pages for what keeps people out: SYNCD_TEST_AXE, or the npm package in `.cache/`."""

from __future__ import annotations

import os
import shutil
import subprocess
import tarfile
import tempfile
from pathlib import Path

from tests.support.programs.debian import run
from tests.support.programs.needed import NotFound

CACHE = Path(__file__).parents[3] / ".cache" / "axe"
PACKAGE = "axe-core@4"


def source() -> str:
    """The script. Raises NotFound."""
    named = os.environ.get("SYNCD_TEST_AXE")
    return (Path(named) if named else _cached()).read_text(encoding="utf-8")


def _cached() -> Path:
    script = CACHE / "axe.min.js"
    if script.exists():
        return script
    if shutil.which("npm") is None:
        raise NotFound("no npm to download axe-core with; set SYNCD_TEST_AXE to its axe.min.js")
    CACHE.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=CACHE) as folder:
        try:
            run(["npm", "pack", "--silent", PACKAGE], cwd=Path(folder))
        except (OSError, subprocess.SubprocessError) as error:
            raise NotFound(f"the npm package axe-core cannot be had: {error}") from None
        (archive,) = Path(folder).glob("*.tgz")
        with tarfile.open(archive) as packed:
            packed.extract("package/axe.min.js", folder, filter="data")
        (Path(folder) / "package/axe.min.js").rename(script)
    return script
