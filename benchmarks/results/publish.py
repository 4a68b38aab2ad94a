"""The five rows of the README, all tables of `docs/performance.md`, and the picture, out of a results file."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.results.plot import svg
from benchmarks.results.report import LIMITS, targets
from benchmarks.results.tables import number, table

ROOT = Path(__file__).parents[2]
BEGIN, END = "<!-- benchmark: written by `python -m benchmarks --publish` -->", "<!-- /benchmark -->"

# Title, name of the figure, format, and whether the README shows it.
LINES: tuple[tuple[str, str, str, bool], ...] = (
    ("snapshot, documents a second", "snapshot_per_s", ",.0f", True),
    ("backlog of updates, changes a second", "backlog_per_s", ",.0f", True),
    ("backlog of inserts, changes a second", "inserts_per_s", ",.0f", False),
    ("still to do when a writer at full speed ends, seconds", "sustained_behind_s", ".1f", False),
    ("update acknowledged to visible at 200 a second, p50 ms", "latency_p50_ms", ".1f", True),
    ("the same, p99 ms", "latency_p99_ms", ".1f", True),
    ("CPU a change in the backlog, µs", "backlog_cpu_us", ".1f", False),
    ("peak resident memory, MB", "peak_rss_mb", ".0f", True),
    ("start-up, seconds", "start_up_s", ".1f", False),
)


def publish(results: Mapping[str, Any], root: Path = ROOT) -> list[Path]:
    """Write all three; the files that were written."""
    readme, page, picture = (
        root / "README.md",
        root / "docs" / "performance.md",
        root / "docs" / "benchmark.svg",
    )
    for file, section in ((readme, short(results)), (page, full(results))):
        file.write_text(replaced(file.read_text(), section))
    picture.write_text(svg(results))
    return [readme, page, picture]


def replaced(text: str, section: str) -> str:
    """The text with the section between its two comments."""
    before, begin, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise ValueError(f"the page lacks the marks {BEGIN} and {END}; put them where the table is to stand")
    return f"{before}{BEGIN}\n\n{section}\n\n{END}{after}"


def short(results: Mapping[str, Any]) -> str:
    """What the README shows."""
    return f"{_conditions(results)}\n\n{_systems(results, [line for line in LINES if line[3]])}"


def full(results: Mapping[str, Any]) -> str:
    """What was measured and where, the table of all systems, the table of targets, the picture."""
    out = [f"Left out: {name}: {why.splitlines()[0]}." for name, why in results["left_out"].items()]
    picture = "![Bars by system, and growth](benchmark.svg)"
    return "\n\n".join([_conditions(results), _systems(results, LINES), *out, targets(results), picture])


def _conditions(results: Mapping[str, Any]) -> str:
    machine, options = results["machine"], results["options"]
    peers = f" ({options['peer_rounds']} for products of others)" if options["peers"] else ""
    return (
        f"{options['documents']:,} documents of 8 fields, about 260 bytes, into hashes; {machine['cpu']}, shared by "
        f"mongod {machine['mongod']}, Redis {machine['redis-server']} and the client; medians, rounds: "
        f"{options['rounds']}{peers}; one run, {machine['date']}. *Tuned* is what a careful engineer writes by hand: "
        "batches of 1,000, a pipeline, the token saved with every batch; it has no fence, no watermarks and no "
        "metrics. *Naive* is one `HSET` a change. Every count begins at the first write."
    )


def _systems(results: Mapping[str, Any], shown: Sequence[tuple[str, str, str, bool]]) -> str:
    """Systems are columns, syncd the first."""
    medians = {name: figures for name, figures in results["medians"].items() if name != LIMITS}
    names = sorted(medians, key=lambda name: name != "syncd")
    lines = [
        [title, *(number(medians[name].get(figure), form) for name in names)]
        for title, figure, form, _ in shown
    ]
    return table(["", *names], lines)
