"""Watches both daemons from outside: which contracts are live, how much memory they take, what they counted."""

from __future__ import annotations

import json
import threading
import time
import urllib.request
from collections.abc import Sequence
from contextlib import suppress
from http.client import HTTPException
from typing import Any

import psutil
from prometheus_client.parser import text_string_to_metric_families

from syncd.plan.partition import WHOLE, Partition
from tests.soak.contracts import SHORTS, names
from tests.soak.faults import Fault
from tests.support.daemon import Daemon

EVERY_S = 0.25
METRICS_EVERY_S = 2.0
ANSWER_S = 0.8
"""A daemon that is paused does not answer; do not wait for it."""
FRESH_S = 3.0
"""A lane that says it is live, but shows nothing newer than that, is not counted as live."""


class Monitor(threading.Thread):
    """As a context manager, between start and stop."""

    def __init__(
        self, daemons: list[Daemon], shorts: Sequence[str], partitions: Sequence[Partition], began: float
    ) -> None:
        super().__init__(name="monitor", daemon=True)
        self._daemons = daemons
        self._lanes_of_all = {
            (names(short).contract, str(part))
            for short in shorts
            for part in (partitions if short in SHORTS else [WHOLE])
        }
        self._began = began
        self._halt = threading.Event()
        self._lock = threading.Lock()
        self._awaited: Fault | None = None
        self._not_live_since: float | None = None
        self._counts: dict[tuple[int, int], dict[str, float]] = {}
        self.longest_not_live = 0.0
        self.peak_rss = 0
        self.lanes: list[dict[str, Any]] = []
        """What the daemons said last, the one that serves a contract before the other."""

    def run(self) -> None:
        next_metrics = 0.0
        while not self._halt.wait(EVERY_S):
            self.look()
            if time.monotonic() >= next_metrics:
                next_metrics = time.monotonic() + METRICS_EVERY_S
                self._measure()

    def look(self) -> None:
        asked = self._now()
        lanes = [lane for daemon in self._daemons for lane in self._lanes(daemon)]
        live = {
            (lane["contract"], lane["partition"])
            for lane in lanes
            if lane["state"] == "live" and (lane["lag_seconds"] or 0.0) < FRESH_S
        }
        with self._lock:
            self.lanes = sorted(lanes, key=lambda lane: (lane["contract"], lane["state"] == "standby"))
            if live >= self._lanes_of_all:
                self._all_live(asked)
            elif self._not_live_since is None:
                self._not_live_since = asked

    def _all_live(self, now: float) -> None:
        if self._not_live_since is not None:
            self.longest_not_live = max(self.longest_not_live, now - self._not_live_since)
            self._not_live_since = None
        fault = self._awaited
        if fault is not None and now > fault.ended:
            fault.live_after = round(now - fault.ended, 3)
            self._awaited = None

    @property
    def all_live(self) -> bool:
        return self._not_live_since is None and bool(self.lanes)

    def wait_live(self, timeout: float, fault: Fault | None = None) -> bool:
        """Until every contract was live at a read that began after now; gives up after `timeout` seconds."""
        with self._lock:
            self._awaited = fault = fault or Fault("", 0.0, ended=self._now())
        deadline = time.monotonic() + timeout
        while fault.live_after is None and time.monotonic() < deadline:
            time.sleep(EVERY_S / 2)
        with self._lock:
            self._awaited = None
        return fault.live_after is not None

    def _now(self) -> float:
        return time.monotonic() - self._began

    def _lanes(self, daemon: Daemon) -> list[dict[str, Any]]:
        text = _get(daemon.url + "/status")
        answer: list[dict[str, Any]] = json.loads(text)["lanes"] if text else []
        return answer

    def _measure(self) -> None:
        for number, daemon in enumerate(self._daemons):
            if not daemon.process.alive:
                continue
            pid = daemon.process.pid
            with suppress(psutil.Error):
                self.peak_rss = max(self.peak_rss, psutil.Process(pid).memory_info().rss)
            if text := _get(daemon.url + "/metrics"):
                self._counts[number, pid] = _changes(text)

    def changes(self) -> dict[str, int]:
        """Changes that the daemons took from MongoDB, by operation, over all their lives; what a daemon did in its
        last two seconds before a kill is not known."""
        total: dict[str, float] = {}
        for counts in self._counts.values():
            for op, count in counts.items():
                total[op] = total.get(op, 0) + count
        return {op: round(count) for op, count in sorted(total.items())}

    def __enter__(self) -> Monitor:
        self.start()
        return self

    def stop(self) -> None:
        self._halt.set()
        self.join()

    def __exit__(self, *error: object) -> None:
        self.stop()


def _get(url: str) -> str:
    """Empty when there is no answer."""
    try:
        with urllib.request.urlopen(url, timeout=ANSWER_S) as reply:
            text: str = reply.read().decode()
            return text
    except (OSError, HTTPException):
        return ""


def _changes(text: str) -> dict[str, float]:
    total: dict[str, float] = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            if sample.name == "syncd_changes_total":
                op = sample.labels["op"]
                total[op] = total.get(op, 0) + sample.value
    return total
