"""From the figures of all rounds to tables: targets, medians, and ratios against the tuned script and the limits."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from benchmarks.measured.ways import WAYS
from benchmarks.results.tables import number, table
from benchmarks.results.targets import rows

Figures = dict[str, float]

LIMITS = "limits"
BASELINE = "tuned"

_COLUMNS: tuple[tuple[str, str, str], ...] = (
    ("snapshot docs/s", "snapshot_per_s", ",.0f"),
    ("from start", "snapshot_from_start_per_s", ",.0f"),
    ("backlog changes/s", "backlog_per_s", ",.0f"),
    ("from start", "backlog_from_start_per_s", ",.0f"),
    ("inserts/s", "inserts_per_s", ",.0f"),
    ("from start", "inserts_from_start_per_s", ",.0f"),
    ("sustained changes/s", "sustained_per_s", ",.0f"),
    ("behind at the end, s", "sustained_behind_s", ".2f"),
    ("latency p50 ms", "latency_p50_ms", ".1f"),
    ("p99 ms", "latency_p99_ms", ".1f"),
    ("RSS peak MB", "peak_rss_mb", ".0f"),
    ("end MB", "end_rss_mb", ".0f"),
    ("CPU us/change", "backlog_cpu_us", ".1f"),
    ("CPU us/change, sustained", "sustained_cpu_us", ".1f"),
    ("start-up s", "start_up_s", ".2f"),
    ("other load on the machine", "other_load", ".0%"),
)

_RATIOS: tuple[tuple[str, str], ...] = (
    ("snapshot", "snapshot_per_s"),
    ("backlog", "backlog_per_s"),
    ("inserts", "inserts_per_s"),
    ("sustained", "sustained_per_s"),
)

_ALONE: tuple[tuple[str, str, str], ...] = (
    ("snapshot docs/s", "snapshot_per_s", ",.0f"),
    ("CPU us/doc", "snapshot_cpu_us", ".1f"),
    ("RSS MB", "snapshot_rss_mb", ".0f"),
    ("backlog changes/s", "backlog_per_s", ",.0f"),
    ("CPU us/change", "backlog_cpu_us", ".1f"),
    ("RSS MB", "backlog_rss_mb", ".0f"),
)

_BACK: tuple[tuple[str, str, str], ...] = (
    ("a second", "per_s", ",.0f"),
    ("CPU us each", "cpu_us", ".1f"),
    ("latency p50 ms", "latency_p50_ms", ".1f"),
    ("p99 ms", "latency_p99_ms", ".1f"),
    ("RSS MB", "rss_mb", ".0f"),
)

_LIMIT_NAMES = {
    "find": "MongoDB: documents read in raw batches",
    "hset_new": "Redis: new hashes of eight fields, packed beforehand",
    "hset": "Redis: the same over hashes that are there",
    "insert": "MongoDB: documents inserted",
    "update": "MongoDB: documents updated",
    "stream_inserts": "MongoDB: insert events drained by raw getMore",
    "stream": "MongoDB: update events drained by raw getMore",
    "stream_lookup": "the same with `updateLookup`",
}


@dataclass
class Results:
    """Everything that was measured, a list of rounds for each system."""

    options: dict[str, object]
    machine: dict[str, str]
    rounds: dict[str, list[Figures]] = field(default_factory=dict)
    parts: dict[str, dict[str, list[Figures]]] = field(default_factory=dict)
    """What is measured of syncd alone: `many`, `variants`, `growth`; under each a list of rounds for each name."""
    failures: dict[str, str] = field(default_factory=dict)
    left_out: dict[str, str] = field(default_factory=dict)
    """Products of others that could not be measured, and why."""

    def medians(self) -> dict[str, Figures]:
        """For each system, the median of each figure over its rounds."""
        return {name: medians(rounds) for name, rounds in self.rounds.items() if rounds}

    def document(self) -> dict[str, object]:
        """The results file."""
        return {
            "options": self.options,
            "machine": self.machine,
            "medians": self.medians(),
            "parts": {
                part: {name: medians(rounds) for name, rounds in names.items()}
                for part, names in self.parts.items()
            },
            "failures": self.failures,
            "left_out": self.left_out,
            "rounds": self.rounds,
            "part_rounds": self.parts,
        }


def medians(rounds: Sequence[Figures]) -> Figures:
    """The median of each figure; a figure that a round lacks is taken over the others."""
    names = dict.fromkeys(name for figures in rounds for name in figures)
    return {name: statistics.median(figures[name] for figures in rounds if name in figures) for name in names}


def ceilings(limits: Figures) -> Figures:
    """For each ratio the slowest stage that every system must pass, measured alone."""
    return {
        "snapshot_per_s": min(limits["find"], limits["hset_new"]),
        "backlog_per_s": min(limits["stream"], limits["hset"]),
        "inserts_per_s": min(limits["stream_inserts"], limits["hset_new"]),
        "sustained_per_s": min(limits["update"], limits["stream"], limits["hset"]),
    }


def markdown(results: Results) -> str:
    """The whole report."""
    all_medians = results.medians()
    limits = all_medians.pop(LIMITS, None)
    document = results.document()
    parts = [_machine(results), _failures(results.failures), _left_out(results.left_out), targets(document)]
    if all_medians:
        parts.append(_systems(all_medians))
        parts.append(_ratios(all_medians, limits))
    if limits:
        parts.append(_limits(limits))
    parts += [_part(part, document, _ALONE) for part in ("variants", "growth")]
    parts += [_part(part, document, _BACK) for part in WAYS]
    return "\n\n".join(part for part in parts if part) + "\n"


def _machine(results: Results) -> str:
    options = f"{results.options['documents']:,} documents, medians of rounds: {results.options['rounds']}"
    if results.options["peers"]:
        options += f", of products of others: {results.options['peer_rounds']}"
    return "  \n".join([options, *(f"{name}: {value}" for name, value in results.machine.items())])


def _failures(failures: dict[str, str]) -> str:
    return "\n".join(f"**FAILED: {name}: {reason.splitlines()[0]}**" for name, reason in failures.items())


def _left_out(reasons: Mapping[str, str]) -> str:
    return "\n".join(f"Left out: {name}: {reason.splitlines()[0]}" for name, reason in reasons.items())


def targets(document: Mapping[str, Any]) -> str:
    """The table of targets of a results file."""
    lines = [(row.title, row.target, row.measured, row.verdict) for row in rows(document)]
    return table(("", "target", "measured", "verdict"), lines, words=4)


def _part(part: str, document: Mapping[str, Any], columns: tuple[tuple[str, str, str], ...]) -> str:
    """What was measured beside the phases, under each name."""
    found = document["parts"].get(part, {})
    lines = [
        [name, *(number(figures.get(figure), form) for _, figure, form in columns)]
        for name, figures in found.items()
    ]
    return table([part, *(title for title, _, _ in columns)], lines) if lines else ""


def _systems(systems: dict[str, Figures]) -> str:
    """Systems are columns, so that the table stays readable in a terminal."""
    heads = ["", *systems]
    rows = [
        [title, *(number(figures.get(name), form) for figures in systems.values())]
        for title, name, form in _titled()
    ]
    return table(heads, rows)


def _titled() -> list[tuple[str, str, str]]:
    """The columns, with "from start" said in full."""
    titled, before = [], ""
    for title, name, form in _COLUMNS:
        before = before if title == "from start" else title
        titled.append((f"{before}, from start" if title == "from start" else title, name, form))
    return titled


def _ratios(systems: dict[str, Figures], limits: Figures | None) -> str:
    """How many times the tuned script, and what share of the limit."""
    tuned = systems.get(BASELINE)
    ceiling = ceilings(limits) if limits else None
    rows = []
    for title, name in _RATIOS:
        for against, base, form in (("x tuned", tuned, ".2f"), ("of the limit", ceiling, ".0%")):
            if base and name in base:
                shares = [
                    figures[name] / base[name] if name in figures else None for figures in systems.values()
                ]
                rows.append([f"{title}, {against}", *(number(share, form) for share in shares)])
    return table(["", *systems], rows) if rows else ""


def _limits(limits: Figures) -> str:
    rows = [[title, number(limits[name], ",.0f")] for name, title in _LIMIT_NAMES.items()]
    rows.append(["other load on the machine meanwhile", number(limits.get("other_load"), ".0%")])
    return table(["limit, each alone", "a second"], rows)
