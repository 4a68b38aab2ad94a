"""One contract as a row: by what lanes here say, and what Redis knows of those of other daemons. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple, TypeAlias

from syncd.contract.model.contract import Contract
from syncd.contract.several import OF
from syncd.ops.console.judgement import Judgement, Level, judge, judge_peer

Said: TypeAlias = Mapping[str, Any]
COPYING = ("snapshot", "sweep")
"""Phases of a position."""


class Judged(NamedTuple):
    """One partition of a contract, the worst first when sorted."""

    judgement: Judgement
    state: str
    """That of a lane; of another daemon's: `live`, `snapshot`, `not ready` or `no daemon`."""
    holder: str
    """The host of the daemon that works on it."""
    here: bool = False
    """Whether that is this daemon."""


def judged(name: str, lanes: Sequence[Said], parts: Sequence[Said], host: str, now: float) -> list[Judged]:
    """Every partition of a contract. `lanes`: those of this daemon, on `host`; `parts`: all, as Redis shows them, or
    none where it does not answer."""
    works = [lane for lane in lanes if lane["state"] != "standby"]
    here = {lane["partition"] for lane in works}
    elsewhere = [part for part in parts if part["partition"] not in here]
    found = [Judged(judge(lane, now), lane["state"], host, here=True) for lane in works]
    found += [
        Judged(judge_peer(name, part, is_ours=bool(lanes)), _state(part), part["host"]) for part in elsewhere
    ]
    if not parts:
        found += [Judged(judge(lane, now), "standby", "") for lane in lanes if lane["state"] == "standby"]
    return sorted(found)


def _state(part: Said) -> str:
    if not part["holder"]:
        return "no daemon"
    if part["phase"] in COPYING:
        return "snapshot"
    return "live" if part["says"] == "" else "not ready"


def row(
    name: str, contract: Contract | None, lanes: Sequence[Said], parts: Sequence[Said], host: str, now: float
) -> dict[str, Any]:
    """For JSON. What is not known is None."""
    all_of = judged(name, lanes, parts, host, now) or [
        Judged(Judgement(Level.BUSY, "it is not known yet"), "starting", "")
    ]
    worst = all_of[0]
    return {
        "name": name,
        **_about(contract),
        "state": worst.state,
        "level": str(worst.judgement.level),
        "says": worst.judgement.says,
        "since": min((lane["since"] for lane in lanes), default=None),
        "here": any(one.here for one in all_of),
        "holders": sorted({one.holder for one in all_of if one.holder}),
        "partitions": max(len(all_of), 1),
        "lag_seconds": _worst(lane["lag_seconds"] for lane in lanes),
        "changes": sum(lane["changes"] for lane in lanes),
        "dead_letters": _dead_letters(lanes, parts),
        "conflicts": sum(lane.get("conflicts") or 0 for lane in lanes),
        "copied": _copied(lanes, parts) if any(one.state == "snapshot" for one in all_of) else None,
    }


def with_waiting(found: dict[str, Any], plan: str) -> dict[str, Any]:
    """The same row where an edit of the file waits for approval."""
    whole = found["name"].partition(OF)[0]
    says = f"an edit waits for approval: `syncd plan`, then `syncd approve {whole} {plan}`"
    if found["level"] == str(Level.PROBLEM):
        return found | {"says": f"{found['says']}; {says}"}
    return found | {"level": str(Level.ATTENTION), "says": "; ".join(filter(None, (found["says"], says)))}


def _about(contract: Contract | None) -> dict[str, Any]:
    """What the file says."""
    if contract is None:
        return dict.fromkeys(
            ("owner", "version", "description", "direction", "capture", "collection", "freshness_seconds")
        )
    return {
        "owner": contract.metadata.owner,
        "version": contract.metadata.version,
        "description": contract.metadata.description,
        "direction": contract.sync.direction,
        "capture": contract.sync.capture,
        "collection": contract.shown_collection,
        "freshness_seconds": contract.slo.freshness / 1000 if contract.slo else None,
    }


def _worst(values: Iterator[float | None]) -> float | None:
    return max((value for value in values if value is not None), default=None)


def _dead_letters(lanes: Sequence[Said], parts: Sequence[Said]) -> int | None:
    """They belong to the contract, so that every partition says the same."""
    known = (one["dead_letters"] for one in (*lanes, *parts))
    return max((count for count in known if count is not None), default=None)


def _copied(lanes: Sequence[Said], parts: Sequence[Said]) -> int:
    """What a lane knows of its own partition is newer than what Redis showed at the last survey."""
    copied = {part["partition"]: part["copied"] for part in parts}
    copied |= {
        lane["partition"]: lane["snapshot"]["copied"] or 0 for lane in lanes if lane["state"] == "snapshot"
    }
    return sum(copied.values())
