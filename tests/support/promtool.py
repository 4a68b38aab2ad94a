"""Finds Prometheus's promtool: the environment's SYNCD_TEST_PROMTOOL, the PATH, Debian's package in `.cache/`."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from pathlib import Path

from tests.support.redis70 import NotFound, unpack

CACHE = Path(__file__).parents[2] / ".cache" / "promtool"
PLACE = Path("usr/bin/promtool")


def find() -> Path:
    """Raises NotFound."""
    named = os.environ.get("SYNCD_TEST_PROMTOOL") or shutil.which("promtool")
    if named:
        return Path(named)
    if not (CACHE / PLACE).exists():
        _download()
    return CACHE / PLACE


def _download() -> None:
    """Unpacks beside the cache first, so that two test runs do not see each other's halves."""
    if shutil.which("apt-get") is None or shutil.which("dpkg") is None:
        raise NotFound("no promtool, and no apt-get to download it with; set SYNCD_TEST_PROMTOOL")
    CACHE.parent.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(dir=CACHE.parent) as folder:
        root = Path(folder) / "root"
        try:
            unpack(root, ["prometheus"])
        except (OSError, subprocess.SubprocessError) as error:
            raise NotFound(f"Debian's package prometheus cannot be had: {error}") from None
        if not CACHE.exists():
            root.rename(CACHE)
