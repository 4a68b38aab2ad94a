"""Lists: an array in its order."""

from __future__ import annotations

from typing import Any

from syncd.plan.types.arrays import ArrayForm
from syncd.plan.types.base import DataType


class List(ArrayForm):
    """The elements in their order."""

    code = "el"
    read = (b"LRANGE", b"0", b"-1")

    def _joined(self, encoded: list[Any]) -> list[bytes]:
        return encoded

    def _is_same(self, wanted: Any, found: list[bytes]) -> bool:
        return bool(wanted == found)


LIST = DataType(name="list", redis="list", sample=("RPUSH", "1"), value=List())
