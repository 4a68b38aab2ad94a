"""Contracts that make a document of each sample of a time series, and what these must be by what Redis holds."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from typing import Any

from tests.support.check import wait_until
from tests.support.contracts import from_redis, projection
from tests.support.scene import Flow, Scene
from tests.support.ways.outbox import documents

START_MS = 1_767_225_600_000
"""2026-01-01."""
SERIES: dict[str, Any] = {
    "type": "timeseries", "key": "{sensor}", "time": "at", "value": "celsius", "labels": {"site": "where.site"},
}  # fmt: skip


def live_series(scene: Scene, short: str, *, sync: dict[str, Any] | None = None, **more: Any) -> Flow:
    """Of series under `flow.key(sensor)`; it is live."""
    whole = from_redis("keyspace", on_delete="ignore", **(sync or {}))
    flow = scene.add(short, projection(**{**SERIES, **more}), sync=whole)
    if not scene.daemon.process.alive:
        scene.start()
    flow.wait_live()
    return flow


def add(
    flow: Flow,
    sensor: str,
    numbers: Iterable[float],
    value: float = 20.0,
    *,
    site: str = "roof",
    retention: int = 0,
) -> None:
    """Samples, a second apart: what is there already gets this value."""
    pipe = flow.redis.pipeline(transaction=False)
    add_to(pipe, flow.key(sensor), numbers, value, site=site, retention=retention)
    pipe.execute()


def add_to(
    pipe: Any,
    key: str,
    numbers: Iterable[float],
    value: float = 20.0,
    *,
    site: str = "roof",
    retention: int = 0,
) -> None:
    """The same, of any key and with what else the pipeline sends."""
    for number in numbers:
        pipe.execute_command(
            "TS.ADD", key, round(START_MS + 1000 * number), value + number / 8, "RETENTION", retention,
            "ON_DUPLICATE", "LAST", "LABELS", "site", site,
        )  # fmt: skip


def samples(flow: Flow) -> dict[str, Any]:
    """All documents that there must be, for what Redis holds."""
    wanted = {}
    for sensor in sorted(flow.keys()):
        key = flow.key(sensor)
        said = flow.redis.execute_command("TS.INFO", key)
        labels = dict(dict(zip(said[::2], said[1::2], strict=True))[b"labels"])
        for moment, value in flow.redis.execute_command("TS.RANGE", key, "-", "+"):
            at = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(milliseconds=moment)
            wanted[f"{key}:{moment}"] = {
                "sensor": sensor, "at": at.replace(tzinfo=None), "celsius": float(value),
                "where": {"site": labels[b"site"].decode()},
            }  # fmt: skip
    return wanted


def wait_samples(flow: Flow, *, beside: dict[str, Any] | None = None, timeout: float = 60) -> None:
    """Until each sample has its document, and no other is there but those `beside`."""
    wait_until(
        lambda: documents(flow) == (beside or {}) | samples(flow),
        timeout,
        lambda: _differences(flow, beside or {}),
    )


def _differences(flow: Flow, beside: dict[str, Any]) -> str:
    there, wanted = documents(flow), beside | samples(flow)
    differing = [name for name in there | wanted if there.get(name) != wanted.get(name)]
    shown = [(name, there.get(name), wanted.get(name)) for name in differing[:3]]
    return f"{len(differing)} of {len(wanted)} differ: {shown}; {flow.lane()}; {flow.dead_letters()[:2]}"
