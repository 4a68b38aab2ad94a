"""How far a lane is by the records of all nodes of a cluster: as far as each of them is.

A record says that its node shows every change up to a token, and every document of the ranges that are copied. So what
all of them say is true of each, and the changes behind it are done once more where a node is further. Those may show
states up to the latest time of any record, which is therefore the read watermark.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any

from bson import ObjectId

from syncd.stores.mongo.reads.ranges import ALL, Range
from syncd.stores.mongo.times import Moment
from syncd.stores.redis.records.position import (
    SNAPSHOT,
    STREAM,
    SWEEP,
    ControlKeys,
    Position,
    load_record,
)
from syncd.stores.redis.records.refreshes import earliest_joined
from syncd.stores.redis.store import RedisStore

_ORDER = {SWEEP: 1, STREAM: 2}
"""Of phases; each other one comes before."""
_COMPARABLE = ((int, float), (str,), (ObjectId,), (datetime,))
"""Types of `_id` that Python orders as MongoDB does, among themselves."""


def load_position(store: RedisStore, keys: ControlKeys) -> Position:
    """Read the position; an empty one where there is none."""
    return earliest([load_record(node, keys.at(node.place)) for node in store.nodes])


def earliest(parts: Sequence[Position]) -> Position:
    """What all of these say. A record that is missing is a lost position."""
    if len(parts) == 1:
        return parts[0]
    owned: list[list[str]] = []
    for part in parts:
        owned += [entry for entry in part.owned if entry not in owned]
    fingerprints = {part.fingerprint for part in parts}
    said: dict[str, Any] = {
        "owned": owned, "fingerprint": fingerprints.pop() if len(fingerprints) == 1 else ""
    }  # fmt: skip
    lost = [part for part in parts if part.token is None]
    if lost:
        wish = next((part.next for part in lost if part.next != SWEEP), SWEEP)
        return replace(_resumed(parts), next=wish, **said)
    first, phase = min(parts, key=_stands), min((part.phase for part in parts), key=_order)
    behind = [part for part in parts if part.phase == phase]
    left = _left([part.left for part in behind]) if phase == SNAPSHOT else behind[0].left
    return replace(
        first,
        read_watermark=max(max(part.time, part.read_watermark) for part in parts),
        phase=phase,
        left={0: ALL} if left is None else left,
        joined=earliest_joined([part.joined for part in parts]),
        copied=0 if left is None else min(part.copied for part in behind),
        next=behind[0].next,
        **said,
    )


def _resumed(parts: Sequence[Position]) -> Position:
    """Where the stream may go on all the same, if every node says that."""
    if any(part.token is None and part.resume is None for part in parts):
        return Position()
    first = min(parts, key=_stands)
    latest = max(max(part.time, part.read_watermark) for part in parts)
    return Position(
        resume=first.token or first.resume,
        event=first.event,
        nth=first.nth,
        time=first.time,
        read_watermark=latest,
        deployment=first.deployment,
        witness=first.witness,
    )


def _order(phase: str) -> int:
    return _ORDER.get(phase, 0)


def _stands(part: Position) -> tuple[Moment, str]:
    """Tokens of one time are told apart by their text, in whose order MongoDB sorts them."""
    return part.time, str((part.token or part.resume or {}).get("_data", ""))


def _left(all_left: Sequence[Any]) -> dict[int, Range] | None:
    """What any of them has yet to copy. None where that cannot be said: then all of it."""
    found: dict[int, Range] = {}
    for number in sorted({number for left in all_left for number in left}):
        ranges = [left[number] for left in all_left if number in left]
        after = _first([one.after for one in ranges])
        if after is None or len({one.upto for one in ranges}) > 1:
            return None
        found[number] = Range(after or None, ranges[0].upto)
    return found


def _first(bounds: Sequence[bytes | None]) -> bytes | None:
    """The first of these; empty for the beginning, None where it is not known which that is."""
    if None in bounds:
        return b""
    if len(set(bounds)) == 1:
        return bounds[0]
    ids = [Range(bound).bounds[0] for bound in bounds]
    values = [one["_id"] for one in ids if one is not None]
    for kinds in _COMPARABLE:
        if all(
            isinstance(value, kinds) and type(value) is not bool and not _is_nan(value) for value in values
        ):
            return bounds[values.index(min(values))]
    return None


def _is_nan(value: Any) -> bool:
    return isinstance(value, float) and math.isnan(value)
