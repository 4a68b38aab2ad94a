"""What starts processes."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest

from syncd.embedded import ChildProcess
from syncd.embedded.process import Child


def test_whoever_starts_a_process_hears_of_every_error(tmp_path: Path) -> None:
    """Also of one that is no error of the system: nobody waits for a process that will never come, and the next one
    can be started."""

    def popen(command: list[str], _log: Path, _env: Mapping[str, str] | None) -> Child:
        raise AssertionError(f"{command[0]} was not started")

    child = ChildProcess(["it"], log=tmp_path / "log", answers=lambda: True, popen=popen)
    for _ in range(2):
        with pytest.raises(AssertionError, match="it was not started"):
            child.launch()
