"""How a lane begins: where it stood or with a copy, and what goes at the end of that. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace

from syncd.contract.model.redis.redis_types import TYPE_RULES
from syncd.contract.model.redis.template import KeyTemplate
from syncd.plan.claims import others_that_meet
from syncd.plan.keys.templates import parse_key
from syncd.plan.stream_plan import StreamPlan
from syncd.plan.to_redis.change import Retired
from syncd.stores.redis.records.position import DIGEST, SNAPSHOT, STREAM, SWEEP, Position
from syncd.to_redis.stream.change_stream import Batch


def is_fresh(plan: StreamPlan, position: Position, *, level: bool = True) -> bool:
    """Whether a run begins again, and does not go on where it stood. `level`: see `are_level`; without that, digests
    that were being compared say nothing of what a node of a cluster has lost since."""
    is_open = position.phase != DIGEST or level
    return position.token is None or position.fingerprint != plan.fingerprint or not is_open


def reason_of(
    plan: StreamPlan, position: Position, phase: str, *, fresh: bool, level: bool, replayed: bool
) -> str:
    """Why a run begins as it does, for the log: from this position with this phase."""
    if position.token is None and position.next == DIGEST and phase == DIGEST:
        return "the position is lost, and digests say what differs"
    if DIGEST in (position.next, position.phase) and phase == SNAPSHOT and not level:
        return "the position is lost, and a node of the cluster may have lost what digests say of it"
    if not replayed:
        return "a node of the cluster has lost what a replay, a repair or a copy of some documents wrote"
    if position.token is None:
        return "no position" if position.resume is None else "a person asked for it"
    if position.fingerprint != plan.fingerprint:
        return "the contract changed"
    return "which documents match is not known" if fresh else "going on"


def first_phase(plan: StreamPlan, old: Position, *, by_digests: bool) -> str:
    """What a run that begins again does first. `by_digests`: whether Redis may have them; then a position that was lost
    costs what differs."""
    if old.next == DIGEST and by_digests and old.fingerprint == plan.fingerprint:
        return DIGEST
    retires = any(entry not in plan.owned for entry in old.owned)
    return SNAPSHOT if plan.copies_anything or retires else STREAM


def beginning(
    plan: StreamPlan, old: Position, first: Batch, deployment: str, *, by_digests: bool
) -> Position:
    """Where a copy begins, beside a stream of `deployment` that begins with `first`."""
    return Position(
        token=first.token,
        time=first.time,
        read_watermark=first.time,
        phase=first_phase(plan, old, by_digests=by_digests),
        fingerprint=plan.fingerprint,
        owned=plan.owned + [entry for entry in old.owned if entry not in plan.owned],
        next=SWEEP if old.next == DIGEST else old.next,
        deployment=deployment,
    )


def going_on(position: Position, old: Position) -> Position:
    """A copy beside a stream that goes on where it stood: no change is left out."""
    latest = max(old.read_watermark, old.time, position.read_watermark)
    return replace(position, event=old.event, nth=old.nth, time=old.time, read_watermark=latest)


def retired_shapes(plan: StreamPlan, owned: Iterable[Sequence[str]]) -> list[Retired]:
    """Of what a contract may have written the shapes that it no longer has, and whose keys go at the end of a copy.
    What another contract takes, with its map, is not ours to remove, also while that one has yet to begin."""
    present = {(shape.name, shape.template.text, shape.is_shared) for shape in plan.shapes}
    given = {text for name, text in plan.templates if name != plan.name}
    shapes = [Retired(name, kind, KeyTemplate.recorded(text)) for name, text, kind in owned]
    return [
        one for one in shapes
        if (one.name, one.template.text, one.is_shared) not in present
        and one.template.text not in given
        and not is_feed(one.redis_type)
    ]  # fmt: skip


def is_feed(kind: str) -> bool:
    """Whether an entry of `owned`, of this type, came from the claim of a change feed: no copy can make its entries
    again, so none removes its stream."""
    rules = TYPE_RULES.get(kind)  # type: ignore[call-overload]
    return rules is not None and rules.fed


def removed_entries(plan: StreamPlan, owned: Iterable[list[str]]) -> list[list[str]]:
    """Of what a contract may have written what has no key any more when a copy ends, as entries of `owned`."""
    given = {text for name, text in plan.templates if name != plan.name}
    return [entry for entry in owned if entry not in plan.owned and entry[1] not in given]


def other_types(plan: StreamPlan, owned: Iterable[Sequence[str]]) -> list[Retired]:
    """Shapes that the contract has, as they were when they had another Redis type."""
    present = {(shape.name, shape.template.text, shape.is_shared): shape.redis_type for shape in plan.shapes}
    shapes = [Retired(name, kind, KeyTemplate.recorded(text)) for name, text, kind in owned]
    return [
        one for one in shapes
        if present.get((one.name, one.template.text, one.is_shared), one.redis_type) != one.redis_type
    ]  # fmt: skip


def is_retired_key(plan: StreamPlan, shape: Retired) -> Callable[[str], bool]:
    """Whether a key of a retired shape goes: not one that another projection has taken over, or another contract will.
    Those of projections with a map are known to that map alone."""
    others = [template for template in others_that_meet(plan, shape.template) if template.by_id]
    taken = [*(one.template for one in plan.shapes if one.by_id or one.is_shared), *others]
    return lambda key: not any(parse_key(template, key.encode()) is not None for template in taken)
