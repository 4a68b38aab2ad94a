"""Markdown tables that stay readable in a terminal."""

from __future__ import annotations

from collections.abc import Sequence


def number(value: float | None, form: str) -> str:
    """A figure, or a dash where there is none."""
    return "-" if value is None else format(value, form)


def table(heads: Sequence[str], rows: Sequence[Sequence[str]], words: int = 1) -> str:
    """Columns padded to their widest cell. The first `words` columns hold text, the others figures."""
    widths = [max(len(line[at]) for line in [heads, *rows]) for at in range(len(heads))]
    rule = [_rule(max(3, width), at < words) for at, width in enumerate(widths)]
    return "\n".join(_line(line, widths, words) for line in [heads, rule, *rows])


def _rule(width: int, text: bool) -> str:
    return "-" * width if text else "-" * (width - 1) + ":"


def _line(cells: Sequence[str], widths: Sequence[int], words: int) -> str:
    padded = [
        cell.ljust(max(3, width)) if at < words else cell.rjust(max(3, width))
        for at, (cell, width) in enumerate(zip(cells, widths, strict=True))
    ]
    return f"| {' | '.join(padded)} |"
