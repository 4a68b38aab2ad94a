"""The command line as a subprocess, as a user runs it."""

from __future__ import annotations

import os
import subprocess
import tempfile
from pathlib import Path
from typing import BinaryIO

from tests.support.zygote import zygote

ROOT = Path(__file__).parents[2]
LONGEST = 60.0  # seconds


def syncd(*arguments: str | Path, cwd: Path = ROOT, **env: str) -> subprocess.CompletedProcess[str]:
    """Run one verb to its end. None of the caller's SYNCD_ settings gets through."""
    inherited = {key: value for key, value in os.environ.items() if not key.startswith("SYNCD_")}
    with tempfile.TemporaryFile() as stdout, tempfile.TemporaryFile() as stderr:
        words = [str(argument) for argument in arguments]
        process = zygote().start(
            words, env={**inherited, "COLUMNS": "120", **env}, cwd=cwd, stdout=stdout, stderr=stderr
        )
        try:
            code = process.wait(LONGEST)
        finally:
            process.kill()
        said = [_text(stdout), _text(stderr)]
    return subprocess.CompletedProcess(["syncd", *words], code, *said)


def _text(file: BinaryIO) -> str:
    file.seek(0)
    return file.read().decode()
