"""Positions of reads and of entries: texts of one width that compare as texts.

16 hexadecimal digits of microseconds since 1970, 16 of a count within them. A document carries the position of the read
that it comes from, as `_syncd.pos`.
"""

from __future__ import annotations

import re

NEVER = "0" * 32
_ENTRY = re.compile(r"(\d{1,20})-(\d{1,20})")


def of_entry(entry: str) -> str:
    """The position of an entry of a stream, whose id is milliseconds and a count."""
    match = _ENTRY.fullmatch(entry)
    if match is None:
        return NEVER
    return f"{min(int(match[1]) * 1000, 2**64 - 1):016x}{int(match[2]):016x}"


def of_time(seconds: int, micros: int) -> str:
    """The position of a moment."""
    return f"{seconds * 1_000_000 + micros:016x}{0:016x}"


def milliseconds(position: str) -> int:
    """Epoch milliseconds of a position."""
    return int(position[:16], 16) // 1000


def after(entry: str) -> str:
    """The smallest id above that of an entry."""
    first, _, second = entry.partition("-")
    return f"{first}-{int(second) + 1}" if int(second) < 2**64 - 1 else f"{int(first) + 1}-0"
