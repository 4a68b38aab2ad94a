"""One picture of a results file, as SVG written by hand: bars by system, and growth on logarithmic axes."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any
from xml.sax.saxutils import escape

Figures = Mapping[str, float]

WIDTH = 900
PANEL_W = 430
BAR_H = 16
GAP = 5
LABEL_W = 130
HEAD_H = 30
PLOT_H = 220
INK, FAINT, SYNCD, OTHER = "#24292f", "#8c959f", "#0969da", "#b6c2cf"
LINES = ("#0969da", "#bc4c00")

PANELS: tuple[tuple[str, str, str], ...] = (
    ("snapshot, documents a second", "snapshot_per_s", ",.0f"),
    ("backlog of updates, changes a second", "backlog_per_s", ",.0f"),
    ("backlog of inserts, changes a second", "inserts_per_s", ",.0f"),
    ("latency p99, ms (less is better)", "latency_p99_ms", ".1f"),
    ("CPU a change in the backlog, µs (less is better)", "backlog_cpu_us", ".1f"),
    ("resident memory, MB (less is better)", "peak_rss_mb", ".0f"),
)


def svg(results: Mapping[str, Any]) -> str:
    """The whole picture."""
    systems = {name: figures for name, figures in results["medians"].items() if name != "limits"}
    ordered = dict(sorted(systems.items(), key=lambda item: item[0] != "syncd"))
    y, parts = 10.0, list[str]()
    shown = [panel for panel in PANELS if any(panel[1] in figures for figures in ordered.values())]
    for at in range(0, len(shown), 2):
        pair = shown[at : at + 2]
        for side, panel in enumerate(pair):
            parts.append(_moved(10 + side * (PANEL_W + 20), y, _bars(ordered, *panel)))
        y += max(_bars_height(ordered, panel[1]) for panel in pair)
    growth = results["parts"].get("growth", {})
    if len(growth) > 1:
        parts.append(_moved(10, y, _lines(growth, "seconds by documents, from the first write", _seconds)))
        parts.append(_moved(30 + PANEL_W, y, _lines(growth, "resident memory, MB, by documents", _memory)))
        y += PLOT_H + HEAD_H + 20
    return _document(y, parts)


def _document(height: float, parts: Iterable[str]) -> str:
    style = f"text{{font:12px system-ui,sans-serif;fill:{INK}}}.h{{font-weight:600}}.f{{fill:{FAINT}}}"
    head = (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height:.0f}" role="img" '
        'aria-label="syncd beside other ways from MongoDB to Redis">'
    )
    ground = f'<rect width="{WIDTH}" height="{height:.0f}" fill="#ffffff"/>'
    return "\n".join([head, f"<style>{style}</style>", ground, *parts, "</svg>"]) + "\n"


def _bars_height(systems: Mapping[str, Figures], name: str) -> float:
    return HEAD_H + sum(name in figures for figures in systems.values()) * (BAR_H + GAP) + 20


def _bars(systems: Mapping[str, Figures], title: str, name: str, form: str) -> list[str]:
    """One bar for each system that has the figure, syncd first."""
    values = {system: figures[name] for system, figures in systems.items() if name in figures}
    most = max(values.values()) or 1.0
    parts = [_text(0, 14, title, "h")]
    for at, (system, value) in enumerate(values.items()):
        y = HEAD_H + at * (BAR_H + GAP)
        width = max(1.0, value / most * (PANEL_W - LABEL_W - 70))
        colour = SYNCD if system == "syncd" else OTHER
        parts.append(_text(0, y + 12, system))
        parts.append(f'<rect x="{LABEL_W}" y="{y}" width="{width:.1f}" height="{BAR_H}" fill="{colour}"/>')
        parts.append(_text(LABEL_W + width + 6, y + 12, format(value, form)))
    return parts


def _seconds(size: int, figures: Figures) -> dict[str, float]:
    """Of a backlog there are two changes for each document."""
    return {
        "snapshot": size / figures["snapshot_per_s"],
        "backlog, two changes each": 2 * size / figures["backlog_per_s"],
    }


def _memory(_size: int, figures: Figures) -> dict[str, float]:
    return {"snapshot": figures["snapshot_rss_mb"], "backlog": figures["backlog_rss_mb"]}


def _lines(growth: Mapping[str, Figures], title: str, values: Any) -> list[str]:
    """Two lines over the sizes. Memory has a linear axis from 0; time, which grows tenfold, a logarithmic one."""
    sizes = sorted(int(size) for size in growth)
    found = [values(size, growth[str(size)]) for size in sizes]
    logarithmic = values is _seconds
    every = [value for point in found for value in point.values()]
    low, high = (min(every), max(every)) if logarithmic else (0.0, max(every) * 1.2)
    parts = [_text(0, 14, title, "h"), *_axes(sizes)]
    for at, name in enumerate(found[0]):
        points = [
            (_x(size, sizes), _y(point[name], low, high, logarithmic))
            for size, point in zip(sizes, found, strict=True)
        ]
        parts += _line(points, [point[name] for point in found], LINES[at], below=at == 0)
        top = HEAD_H + (12 if logarithmic else PLOT_H - 80)  # where the lines are not
        parts.append(_text(50, top + at * 16, name, colour=LINES[at]))
    return parts


def _line(
    points: Sequence[tuple[float, float]], values: Sequence[float], colour: str, *, below: bool
) -> list[str]:
    path = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
    parts = [f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="2"/>']
    for (x, y), value in zip(points, values, strict=True):
        parts.append(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3" fill="{colour}"/>')
        parts.append(_text(x + 4, y + (17 if below else -7), f"{value:.3g}", colour=colour))
    return parts


def _axes(sizes: Sequence[int]) -> list[str]:
    bottom = HEAD_H + PLOT_H - 20
    parts = [f'<path d="M30 {HEAD_H}V{bottom}H{PANEL_W - 10}" fill="none" stroke="{FAINT}"/>']
    return parts + [_text(_x(size, sizes) - 20, bottom + 16, f"{size:,}", "f") for size in sizes]


def _x(size: int, sizes: Sequence[int]) -> float:
    share = math.log(size / sizes[0]) / math.log(sizes[-1] / sizes[0])
    return 50 + share * (PANEL_W - 120)


def _y(value: float, low: float, high: float, logarithmic: bool) -> float:
    if logarithmic:
        share = math.log(value / low) / (math.log(high / low) or 1.0)
    else:
        share = (value - low) / ((high - low) or 1.0)
    return HEAD_H + PLOT_H - 40 - share * (PLOT_H - 80)


def _moved(x: float, y: float, parts: Iterable[str]) -> str:
    return "\n".join([f'<g transform="translate({x:.0f},{y:.0f})">', *parts, "</g>"])


def _text(x: float, y: float, text: str, kind: str = "", colour: str = "") -> str:
    named = f' class="{kind}"' if kind else ""
    filled = f' style="fill:{colour}"' if colour else ""
    return f'<text x="{x:.1f}" y="{y:.1f}"{named}{filled}>{escape(text)}</text>'
