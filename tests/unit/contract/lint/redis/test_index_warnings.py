"""What passes and is warned of: values that a search index would not take."""

from __future__ import annotations

from pathlib import Path

import pytest

from syncd.contract.lint.redis.index_warnings import warnings
from tests.unit.contract.contracts import contract, load, projection

REMEDY = "write on_error: null, or omit, on the projected field"
TYPE_OR_REMEDY = f"give the projected field a type, or {REMEDY}"


def warned(folder: Path, fields: str, entry: str, type: str) -> list[str]:
    text = contract(projection(f"{{p: {fields}}}", type=type, index=f"{{name: p, type: {entry}}}"))
    return [
        f"{problem.line}:{problem.column}: {problem.what.removeprefix('index field `p`: ')}; {problem.remedy}"
        for problem in warnings(load(folder, text))
    ]


@pytest.mark.parametrize(
    ("fields", "entry", "type", "expected"),
    [
        ("p", "numeric", "hash",
         f"16:27: a date, a NaN or a text leaves its document out of the index; {TYPE_OR_REMEDY}"),
        ("p", "numeric", "json",
         f"16:27: a decimal, a date, a NaN or a text leaves its document out of the index; {TYPE_OR_REMEDY}"),
        ("{expr: p}", "numeric", "json",
         f"16:27: a decimal, a date, a NaN or a text leaves its document out of the index; {TYPE_OR_REMEDY}"),
        ("{from: p, type: double}", "numeric", "hash", f"16:27: a NaN leaves its document out of the index; {REMEDY}"),
        ("{from: p, type: double}", "numeric", "json",
         f"16:27: a NaN or an infinity leaves its document out of the index; {REMEDY}"),
        ("{from: p, type: decimal}", "numeric", "hash",
         f"16:27: a NaN, or a decimal beyond a double, leaves its document out of the index; {REMEDY}"),
        ("p", "geo", "hash", f"16:27: what is no `lon,lat` leaves its document out of the index; {TYPE_OR_REMEDY}"),
        ("{from: p, type: int, 'null': keep}", "numeric", "hash",
         "16:11: a null, kept as an empty text, leaves its document out of the index; "
         "leave out null: keep of the projected field"),
    ],
)  # fmt: skip
def test_what_may_leave_documents_out(
    tmp_path: Path, fields: str, entry: str, type: str, expected: str
) -> None:
    """With the place of the index field, and what to do."""
    assert warned(tmp_path, fields, entry, type) == [expected]


@pytest.mark.parametrize(
    ("fields", "entry", "type"),
    [
        ("{from: p, type: int}", "numeric", "hash"),
        ("{from: p, type: epoch}", "numeric", "json"),
        ("{from: p, type: double, on_error: null}", "numeric", "json"),
        ("{from: p, on_error: omit}", "numeric", "hash"),
        ("{from: p, type: geo}", "geo", "json"),
        ("p", "tag", "hash"),
        ("p", "text", "json"),
    ],
)
def test_what_cannot_is_not_warned_of(tmp_path: Path, fields: str, entry: str, type: str) -> None:
    """A type or a rule of the field keeps such values away."""
    assert warned(tmp_path, fields, entry, type) == []
