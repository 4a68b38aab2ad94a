"""The log of a daemon, which grows while it is read."""

from __future__ import annotations

import json
import threading
from pathlib import Path
from typing import Any


class Log:
    """The lines of a file that are JSON objects. Each is parsed once, however often a test that waits asks."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock = threading.Lock()
        self._read = 0  # bytes
        self._entries: list[dict[str, Any]] = []

    def entries(self) -> list[dict[str, Any]]:
        """Oldest first. They are the same objects every time."""
        with self._lock:
            if self.path.exists():
                with self.path.open("rb") as file:
                    file.seek(self._read)
                    whole, newline, _ = file.read().rpartition(b"\n")
                self._read += len(whole + newline)
                lines = whole.decode(errors="replace").splitlines()
                self._entries += [
                    json.loads(line) for line in lines if line.startswith("{") and line.endswith("}")
                ]
            return list(self._entries)
