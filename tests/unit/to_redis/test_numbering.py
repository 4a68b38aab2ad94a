"""The ids of entries: later for each later change, the same when it comes again."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from syncd.stores.mongo.times import Moment
from syncd.to_redis.stream.numbering import NTH, Numbering, entry_id, last_entry_id
from tests.unit.contract.contracts import load

PAGE = Path(__file__).parents[3] / "docs" / "how-to" / "change-feed.md"


def at(seconds: int, increment: int) -> Moment:
    return f"{seconds:08X}{increment:08X}"


def event(time: Moment, place: int) -> dict[str, Any]:
    return {"_id": {"_data": f"82{time}2B{place:02X}"}}


def test_changes_of_one_time_are_counted() -> None:
    """Also where the position is in the middle of them; one that comes a second time is left out."""
    first, second = at(100, 1), at(100, 2)
    events = [event(first, 0), event(first, 1), event(first, 2), event(second, 0)]
    whole = [one[NTH] for one in Numbering(None, 0).number([dict(one) for one in events])]
    assert whole == [0, 1, 2, 0]
    rest = Numbering(events[1]["_id"], 1).number([dict(one) for one in events])
    assert [one[NTH] for one in rest] == [2, 0]


def test_later_changes_have_later_ids() -> None:
    """By both numbers, up to the last change that a time can have."""
    moments = [(100, 0), (100, 1), (100, 2**32 - 1), (101, 0), (2**32 - 1, 2**32 - 1)]
    ids = [entry_id(at(*one), n) for one in moments for n in (0, 1, 2**32 - 1)]
    numbers = [tuple(map(int, one.split("-"))) for one in ids]
    assert numbers == sorted(set(numbers))
    assert all(part < 2**64 for one in numbers for part in one)
    assert last_entry_id(at(100, 1)) == entry_id(at(100, 1), 2**32 - 1)


def test_the_contract_of_the_page_passes(tmp_path: Path) -> None:
    """As it stands there."""
    block = re.search(r"```yaml\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    assert block is not None
    (contract,) = load(tmp_path, block[1])
    assert [one.type for one in contract.contract.redis] == ["stream", "hash"]
