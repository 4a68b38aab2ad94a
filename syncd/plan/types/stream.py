"""Streams. They are taken entry by entry, never as a whole: `plan/to_mongo/append.py` makes a document of each."""

from __future__ import annotations

from syncd.plan.types.base import DataType, Form

STREAM = DataType(name="stream", redis="stream", sample=("XADD", "*", "a", "1"), fields=Form())
