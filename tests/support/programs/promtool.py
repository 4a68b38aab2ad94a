"""Finds Prometheus's promtool: the environment's SYNCD_TEST_PROMTOOL, the PATH, Debian's package in `.cache/`."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from tests.support.programs.debian import unpacked

CACHE = Path(__file__).parents[3] / ".cache" / "promtool"
PLACE = Path("usr/bin/promtool")


def find() -> Path:
    """Raises NotFound."""
    named = os.environ.get("SYNCD_TEST_PROMTOOL") or shutil.which("promtool")
    if named:
        return Path(named)
    return unpacked(CACHE, ["prometheus"]) / PLACE
