"""How well a lane is, for people: whether readers get what the contract promises, and what waits for a person. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from enum import IntEnum
from typing import Any, NamedTuple

PATIENCE_S = 60.0
"""How long a lane may wait for a server before a person should know."""
_COMES_UP = {
    "starting": "starting",
    "snapshot": "copying",
    "catching_up": "reading the changes since the copy, or since the last stop",
}


class Level(IntEnum):
    """The worst comes first."""

    PROBLEM = 0
    """Readers do not get what the contract promises, and it does not pass by itself, or has not yet."""
    ATTENTION = 1
    """Something waits for a person; all else is served."""
    BUSY = 2
    """It is on its way."""
    WELL = 3

    def __str__(self) -> str:
        return self.name.lower()


class Judgement(NamedTuple):
    """Of one lane."""

    level: Level
    says: str = ""
    """Why; empty where all is well. Errors of syncd end in their remedy."""


def judge(lane: Mapping[str, Any], now: float) -> Judgement:
    """`lane`: what `/status` says of it."""
    state, error, complaint = lane["state"], lane["error"], lane["complaint"]
    if lane.get("paused"):
        return Judgement(Level.ATTENTION, error or complaint)
    if state in ("failed", "paused"):
        return Judgement(Level.PROBLEM, error or state)
    if state == "waiting":
        is_late = now - lane["since"] > PATIENCE_S
        return Judgement(Level.PROBLEM if is_late else Level.BUSY, error or "waiting for a server")
    if state in _COMES_UP:
        return Judgement(Level.BUSY, error or _COMES_UP[state])
    if state == "stopped":
        return Judgement(Level.BUSY, "stopping")
    if complaint:
        return Judgement(Level.PROBLEM, complaint)
    waits = "; ".join(_waits(lane))
    return Judgement(Level.ATTENTION, waits) if waits else Judgement(Level.WELL)


def _waits(lane: Mapping[str, Any]) -> Iterator[str]:
    """What a person has to decide, of a lane that serves."""
    name = lane["contract"]
    if count := lane["dead_letters"]:
        yield f"{count} dead letter{'' if count == 1 else 's'}: `syncd deadletters list {name}`"
    for index in lane.get("indexes") or ():
        if index["problem"]:
            yield index["problem"]
    if left := (lane.get("check") or {}).get("left"):
        yield f"the last check found {left} keys that differ: `syncd reconcile {name} --repair`"
    if (unfit := lane.get("unfit_keys")) and unfit["count"]:
        yield f"{unfit['count']} keys left out: {unfit['why']}"


def judge_peer(contract: str, part: Mapping[str, Any], *, is_ours: bool) -> Judgement:
    """Of a partition on which this daemon does not work, by what Redis knows of it. `is_ours`: whether it has the
    contract too."""
    if not part["holder"]:
        remedy = f"start one with its contract, or remove what it left: `syncd remove {contract}`"
        return Judgement(Level.PROBLEM if is_ours else Level.ATTENTION, f"no daemon works on it; {remedy}")
    if part["says"] is None:
        return Judgement(Level.BUSY, "its daemon has not said yet that it works")
    if part["says"]:
        is_copying = part["phase"] in ("snapshot", "sweep")
        return Judgement(Level.BUSY if is_copying else Level.PROBLEM, part["says"])
    if count := part["dead_letters"]:
        return Judgement(Level.ATTENTION, f"{count} dead letter{'' if count == 1 else 's'}")
    return Judgement(Level.WELL)
