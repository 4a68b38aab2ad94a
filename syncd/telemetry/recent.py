"""The last lines of the log about each contract, for `syncd logs` and the console. Like the log they hold no values."""

from __future__ import annotations

import threading
from collections import OrderedDict, deque
from collections.abc import MutableMapping
from typing import Any

MOST_LINES = 200
"""Of a contract."""
MOST_CONTRACTS = 1_000
"""The one that has said nothing for longest goes first."""


class RecentLines:
    """Of one process. Thread-safe."""

    def __init__(self) -> None:
        self._lines: OrderedDict[str, deque[dict[str, Any]]] = OrderedDict()
        self._lock = threading.Lock()

    def keep(self, _: Any, __: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
        """Takes a line of the log, and hands it on."""
        contract = event.get("contract")
        if isinstance(contract, str):
            with self._lock:
                self._lines.setdefault(contract, deque(maxlen=MOST_LINES)).append(dict(event))
                self._lines.move_to_end(contract)
                if len(self._lines) > MOST_CONTRACTS:
                    self._lines.popitem(last=False)
        return event

    def of(self, contract: str) -> list[dict[str, Any]]:
        """Those of a contract, of one over several collections those of each, oldest first."""
        with self._lock:
            names = [name for name in self._lines if contract in (name, name.partition("@")[0])]
            found = [line for name in names for line in self._lines[name]]
        return sorted(found, key=lambda line: str(line.get("timestamp", "")))


RECENT = RecentLines()
