"""What syncd is meant to reach, and whether the figures of a run show it: pure functions over a results file."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from benchmarks.systems.products import PEERS

Figures = Mapping[str, float]

LINEAR = 1.25
"""Time for a document may grow by a quarter over all sizes and still be called linear."""
FLAT = 1.10
IDLE_CORES = 0.03
PEAK_MB = 150.0
CPU_US = 12.0
BEHIND_S = 0.5
FULL_PER_S = 40_000
BACK = {
    "append": "a stream into a collection",
    "series": "a stream into a time series",
    "outbox": "keys that are noted in an outbox",
    "keyspace": "keys by keyspace events, while they are written",
}
ALONE = {"append": "insert_many", "series": "insert_many", "outbox": "bulk_write", "keyspace": "bulk_write"}
OF_ALONE = {"append": 0.8, "series": 0.8, "outbox": 0.5, "keyspace": 0.5}
BACK_MS = {"append": (5.0, 20.0), "outbox": (10.0, 30.0), "keyspace": (80.0, 150.0)}
"""p50 and p99 at 200 changes a second. A key that is not noted waits 50 ms for more changes of it."""


@dataclass(frozen=True, slots=True)
class Row:
    """One target. `met` is None where the run did not measure what it takes."""

    name: str
    title: str
    target: str
    measured: str
    met: bool | None

    @property
    def verdict(self) -> str:
        """In a word."""
        return {True: "pass", False: "FAIL", None: "-"}[self.met]


@dataclass(frozen=True, slots=True)
class Check:
    """One figure against its bound; `bound` and `value` are None where something was not measured."""

    text: str
    value: float | None
    bound: float | None
    most: bool = False
    """The bound is the most that is allowed; otherwise the least."""

    @property
    def met(self) -> bool | None:
        """Whether it holds."""
        if self.value is None or self.bound is None:
            return None
        return self.value <= self.bound if self.most else self.value >= self.bound


def rows(results: Mapping[str, Any]) -> list[Row]:
    """The rows that were asked for, from the content of a results file."""
    wanted = results["options"]["rows"]
    return [row for row in _all(results) if row.name in wanted]


def _all(results: Mapping[str, Any]) -> list[Row]:
    systems, parts = results["medians"], results["parts"]
    syncd, tuned = systems.get("syncd", {}), systems.get("tuned", {})
    return [
        _backlog(syncd, tuned, systems.get("limits", {})),
        _sustained(syncd),
        _times_tuned("inserts", "stream of inserts with documents", syncd, tuned),
        _times_tuned("snapshot", "snapshot", syncd, tuned),
        _latency(syncd, systems.get("naive", {})),
        _memory(syncd, parts.get("growth", {})),
        _cpu(syncd),
        _idle(parts.get("many", {}).get("idle", {})),
        _hot(parts.get("many", {}).get("hot", {})),
        *_variants(parts.get("variants", {})),
        *(_peer(title, names, systems, results["left_out"]) for title, names in PEERS.items()),
        _growth(parts.get("growth", {})),
        *(_back(name, title, parts.get(name, {})) for name, title in BACK.items()),
        _compared(parts.get("compared", {}).get("checks", {})),
    ]


def _backlog(syncd: Figures, tuned: Figures, limits: Figures) -> Row:
    by_tuned = ratio(syncd.get("backlog_per_s"), tuned.get("backlog_per_s"))
    by_limit = ratio(syncd.get("backlog_per_s"), limits.get("stream"))
    return _row(
        "backlog",
        "backlog of updates, first write to last",
        ">= 2.5 x tuned, >= 0.5 of the raw stream",
        Check(_times(by_tuned, "x tuned"), by_tuned, 2.5),
        Check(_times(by_limit, "of the raw stream"), by_limit, 0.5),
    )


def _sustained(syncd: Figures) -> Row:
    behind = syncd.get("sustained_behind_s")
    return _row(
        "sustained",
        "two updates of everything at mongod's speed",
        f"nothing left {BEHIND_S} s after the writer",
        Check(_unit(behind, ".2f", "s behind"), behind, BEHIND_S, most=True),
    )


def _times_tuned(name: str, title: str, syncd: Figures, tuned: Figures) -> Row:
    times = ratio(syncd.get(f"{name}_per_s"), tuned.get(f"{name}_per_s"))
    return _row(name, title, ">= 2 x tuned", Check(_times(times, "x tuned"), times, 2.0))


def _latency(syncd: Figures, naive: Figures) -> Row:
    checks = []
    for centile, most in (("p50", 1.3), ("p99", 2.0)):
        name = f"latency_{centile}_ms"
        times = ratio(syncd.get(name), naive.get(name))
        text = f"{centile} {_unit(syncd.get(name), '.1f', 'ms')}, {_times(times, 'x naive')}"
        checks.append(Check(text, times, most, most=True))
    return _row(
        "latency", "acknowledged to visible, 200 a second", "p50 <= 1.3 x naive, p99 <= 2 x naive", *checks
    )


def _memory(syncd: Figures, growth: Mapping[str, Figures]) -> Row:
    peak = syncd.get("peak_rss_mb")
    return _row(
        "memory",
        "resident memory, highest",
        f"<= {PEAK_MB:.0f} MB, within 10% at ten times the work",
        Check(_unit(peak, ".0f", "MB"), peak, PEAK_MB, most=True),
        *_flat(growth),
    )


def _cpu(syncd: Figures) -> Row:
    cost = syncd.get("backlog_cpu_us")
    return _row(
        "cpu",
        "CPU of the daemon a change, backlog",
        f"<= {CPU_US:.0f} us",
        Check(_unit(cost, ".1f", "us"), cost, CPU_US, most=True),
    )


def _idle(figures: Figures) -> Row:
    own, without = figures.get("idle_cores"), figures.get("idle_mongod_cores_without")
    mongod = f"mongod {_share(figures.get('idle_mongod_cores'))}, without syncd {_share(without)}"
    return _row(
        "idle",
        "50 idle contracts on 20 collections",
        f"<= {IDLE_CORES:.0%} of a core; mongod's load measured",
        Check(f"syncd {_share(own)}; {mongod}", own, IDLE_CORES, most=True),
    )


def _hot(figures: Figures) -> Row:
    """Judged against the same writing with the hot contract left out: what MongoDB itself makes of it is not ours."""
    without, beside = figures.get("beside_writing_p99_ms"), figures.get("beside_hot_p99_ms")
    times = ratio(beside, without)
    quiet = _unit(figures.get("quiet_p99_ms"), ".1f", "ms with nothing written")
    text = f"p99 {_unit(without, '.1f', 'ms')} -> {_unit(beside, '.1f', 'ms')}, {_times(times, 'x')}; {quiet}"
    return _row(
        "hot",
        "20 quiet contracts beside a hot one",
        "p99 of the quiet ones <= 2 x without it",
        Check(text, times, 2.0, most=True),
    )


def _variants(variants: Mapping[str, Figures]) -> list[Row]:
    """Each has to have been measured, which means also: to have been right."""
    plain = variants.get("hash", {})
    shown = []
    for name in ("json", "list", "filter", "expr", "vector", "vector and index", "members"):
        figures = variants.get(name, {})
        texts = [
            f"{phase} {_unit(figures.get(f'{phase}_per_s'), ',.0f', 'a second')}, "
            + _times(ratio(figures.get(f"{phase}_per_s"), plain.get(f"{phase}_per_s")), "of hash")
            for phase in ("snapshot", "backlog")
        ]
        met = True if figures and plain else None
        shown.append(Row("variants", f"contract: {name}", "measured", "; ".join(texts) if met else "-", met))
    return shown


def _peer(title: str, names: tuple[str, ...], systems: Mapping[str, Figures], why: Mapping[str, str]) -> Row:
    measured = [systems[name] for name in names if name in systems]
    if not measured:
        reasons = [f"left out: {why[name].splitlines()[0]}" for name in names if name in why]
        return Row("peers", title, "syncd ahead in each", "; ".join(reasons) or "-", None)
    checks = []
    for what, name, most in (
        ("snapshot", "snapshot_per_s", False),
        ("stream", "backlog_per_s", False),
        ("p50", "latency_p50_ms", True),
        ("p99", "latency_p99_ms", True),
        ("memory", "peak_rss_mb", True),
    ):
        found = [figures[name] for figures in measured if name in figures]
        best = (min(found) if most else max(found)) if found else None
        times = ratio(systems.get("syncd", {}).get(name), best)
        checks.append(Check(f"{what} {_times(times, 'x')}", times, 1.0, most))
    return _row("peers", title, "syncd ahead in each", *checks)


def _growth(growth: Mapping[str, Figures]) -> Row:
    sizes = sorted(growth, key=int)
    checks = []
    for phase in ("snapshot", "backlog"):
        longer = _bend(growth, sizes, f"{phase}_per_s") if len(sizes) > 2 else None
        checks.append(Check(f"{phase} {_times(longer, 'x the time a document')}", longer, LINEAR, most=True))
    reached = " / ".join(f"{int(size):,}" for size in sizes) or "-"
    return _row("growth", f"growth: {reached} documents", "time linear, memory flat", *checks, *_flat(growth))


def _back(name: str, title: str, figures: Mapping[str, Figures]) -> Row:
    """From Redis to MongoDB: judged against what pymongo alone gets in, and against a product of others if measured."""
    own, least, alone = figures.get("syncd", {}), OF_ALONE[name], ALONE[name]
    share = ratio(own.get("per_s"), figures.get("alone", {}).get("per_s"))
    checks = [
        Check(f"{_unit(own.get('per_s'), ',.0f', 'a second')}, {_times(share, f'of {alone}')}", share, least)
    ]
    target = f">= {least} of {alone} alone"
    if name in BACK_MS:
        target += ", p50 <= {:.0f} ms, p99 <= {:.0f} ms".format(*BACK_MS[name])
        for centile, most in zip(("p50", "p99"), BACK_MS[name], strict=True):
            value = own.get(f"latency_{centile}_ms")
            checks.append(Check(f"{centile} {_unit(value, '.1f', 'ms')}", value, most, most=True))
    if (peer := figures.get("mq-bridge-back")) is not None:
        times = ratio(own.get("per_s"), peer.get("per_s"))
        checks.append(Check(_times(times, "x mq-bridge + Redpanda Connect"), times, 1.0))
    return _row(name, title, target, *checks)


def _compared(figures: Figures) -> Row:
    share = ratio(figures.get("digest_per_s"), figures.get("hashing_per_s"))
    full, memory = figures.get("full_per_s"), figures.get("digest_rss_mb")
    by_digest = f"by digests {_unit(figures.get('digest_per_s'), ',.0f', 'a second')}"
    return _row(
        "compared",
        "a check of everything",
        f">= 0.5 of MongoDB's own hashing; in full >= {FULL_PER_S:,} a second",
        Check(f"{by_digest}, {_times(share, 'of hashing')}", share, 0.5),
        Check(f"in full {_unit(full, ',.0f', 'a second')}", full, FULL_PER_S),
        Check(_unit(memory, ",.0f", "MB"), memory, PEAK_MB, most=True),
    )


def _bend(growth: Mapping[str, Figures], sizes: list[str], name: str) -> float | None:
    """Time for one more document in the last step of size against the first step. What every run takes cancels out."""
    steps = []
    for small, large in ((sizes[0], sizes[1]), (sizes[-2], sizes[-1])):
        if name not in growth[small] or name not in growth[large]:
            return None
        longer = int(large) / growth[large][name] - int(small) / growth[small][name]
        steps.append(longer / (int(large) - int(small)))
    return ratio(steps[1], steps[0])


def _flat(growth: Mapping[str, Figures]) -> list[Check]:
    """Memory at the largest size against that at a tenth of it."""
    largest = max(map(int, growth), default=0)
    large, small = growth.get(str(largest), {}), growth.get(str(largest // 10), {})
    checks = []
    for phase in ("snapshot", "backlog"):
        times = ratio(large.get(f"{phase}_rss_mb"), small.get(f"{phase}_rss_mb"))
        checks.append(Check(f"{phase} {_times(times, 'x the memory')}", times, FLAT, most=True))
    return checks


def _row(name: str, title: str, target: str, *checks: Check) -> Row:
    """A row is met when every check is, and missed when one is."""
    verdicts = [check.met for check in checks]
    met = False if False in verdicts else None if None in verdicts else True
    measured = "; ".join(check.text for check in checks if check.value is not None)
    return Row(name, title, target, measured or "-", met)


def ratio(value: float | None, base: float | None) -> float | None:
    """How many times the base; None where one of them was not measured."""
    return None if value is None or not base else value / base


def _times(value: float | None, what: str) -> str:
    return "-" if value is None else f"{value:.2f} {what}"


def _unit(value: float | None, form: str, unit: str) -> str:
    return "-" if value is None else f"{value:{form}} {unit}"


def _share(cores: float | None) -> str:
    return "-" if cores is None else f"{cores:.1%}"
