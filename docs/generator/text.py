"""What the pages share: heads, tables, code."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any


def head(title: str, source: str) -> str:
    """The title, and where the page comes from."""
    return f"# {title}\n\nWritten by `python docs/generate.py` from {source}; a test fails when the two differ.\n\n"


def table(heads: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> str:
    """A Markdown table."""
    lines = [heads, ("---",) * len(heads), *rows]
    return "".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |\n" for line in lines)


def code(value: Any) -> str:
    """The value in code type."""
    return f"`{value}`"
