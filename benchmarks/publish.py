"""The README's table and the picture in `docs/`, written from a results file."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from benchmarks.plot import svg
from benchmarks.report import LIMITS, targets
from benchmarks.tables import number, table

ROOT = Path(__file__).parents[1]
BEGIN, END = "<!-- benchmark: written by `python -m benchmarks --publish` -->", "<!-- /benchmark -->"

LINES: tuple[tuple[str, str, str], ...] = (
    ("snapshot, documents a second", "snapshot_per_s", ",.0f"),
    ("backlog of updates, changes a second", "backlog_per_s", ",.0f"),
    ("backlog of inserts, changes a second", "inserts_per_s", ",.0f"),
    ("still to do when a writer at full speed ends, seconds", "sustained_behind_s", ".1f"),
    ("update acknowledged to visible at 200 a second, p50 ms", "latency_p50_ms", ".1f"),
    ("the same, p99 ms", "latency_p99_ms", ".1f"),
    ("CPU a change in the backlog, µs", "backlog_cpu_us", ".1f"),
    ("peak resident memory, MB", "peak_rss_mb", ".0f"),
    ("start-up, seconds", "start_up_s", ".1f"),
)


def publish(results: Mapping[str, Any], root: Path = ROOT) -> list[Path]:
    """Write both; the files that were written."""
    readme, picture = root / "README.md", root / "docs" / "benchmark.svg"
    readme.write_text(replaced(readme.read_text(), section(results)))
    picture.write_text(svg(results))
    return [readme, picture]


def replaced(text: str, section: str) -> str:
    """The text with the section between its two marks."""
    before, begin, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise ValueError(f"README.md lacks the marks {BEGIN} and {END}; put them where the table is to stand")
    return f"{before}{BEGIN}\n\n{section}\n\n{END}{after}"


def section(results: Mapping[str, Any]) -> str:
    """What was measured and where, the table of all systems, the table of targets, the picture."""
    machine, options = results["machine"], results["options"]
    peers = f" ({options['peer_rounds']} for products of others)" if options["peers"] else ""
    head = (
        f"{options['documents']:,} documents of 8 fields, about 260 bytes, into hashes; {machine['cpu']}, shared by "
        f"mongod {machine['mongod']}, Redis {machine['redis-server']} and the client; medians, rounds: "
        f"{options['rounds']}{peers}; one run, {machine['date']}. *Tuned* is what a careful engineer writes by hand: "
        "batches of 1,000, a pipeline, the token saved with every batch; it has no fence, no floors and no metrics. "
        "*Naive* is one `HSET` a change. Every count begins at the first write."
    )
    out = [f"Left out: {name}: {why.splitlines()[0]}." for name, why in results["left_out"].items()]
    picture = "![Bars by system, and growth](docs/benchmark.svg)"
    return "\n\n".join([head, _systems(results), *out, targets(results), picture])


def _systems(results: Mapping[str, Any]) -> str:
    """Systems are columns, syncd the first."""
    medians = {name: figures for name, figures in results["medians"].items() if name != LIMITS}
    names = sorted(medians, key=lambda name: name != "syncd")
    lines = [
        [title, *(number(medians[name].get(figure), form) for name in names)] for title, figure, form in LINES
    ]
    return table(["", *names], lines)
