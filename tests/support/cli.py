"""The command line as a subprocess, as a user runs it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
LONGEST = 60.0  # seconds


def syncd(*arguments: str | Path, cwd: Path = ROOT, **env: str) -> subprocess.CompletedProcess[str]:
    """Run one verb to its end. None of the caller's SYNCD_ settings gets through."""
    inherited = {key: value for key, value in os.environ.items() if not key.startswith("SYNCD_")}
    return subprocess.run(
        [sys.executable, "-m", "syncd", *arguments],
        cwd=cwd,
        env={**inherited, "PYTHONPATH": str(ROOT), "COLUMNS": "120", **env},
        capture_output=True,
        text=True,
        timeout=LONGEST,
        check=False,
    )
