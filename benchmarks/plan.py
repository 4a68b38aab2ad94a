"""What a run has to do for the rows of the table that are wanted."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from benchmarks.measured.phases import BACKLOG, INSERTS, LATENCY, PHASES, SUSTAINED
from benchmarks.measured.ways import WAYS


@dataclass(frozen=True, slots=True)
class Needs:
    """Systems and their phases, and what else is measured: `idle`, `hot`, `variants`, `peers`, `growth`,
    `compared`, and the ways back to MongoDB."""

    systems: tuple[str, ...] = ()
    phases: tuple[str, ...] = ()
    parts: tuple[str, ...] = ()


ROWS: dict[str, Needs] = {
    "backlog": Needs(("tuned", "limits", "syncd"), (BACKLOG,)),
    "sustained": Needs(("syncd",), (SUSTAINED,)),
    "inserts": Needs(("tuned", "syncd"), (INSERTS,)),
    "snapshot": Needs(("tuned", "syncd")),
    "latency": Needs(("naive", "syncd"), (LATENCY,)),
    "memory": Needs(("syncd",), PHASES, ("growth",)),
    "cpu": Needs(("syncd",), (BACKLOG,)),
    "idle": Needs(parts=("idle",)),
    "hot": Needs(parts=("hot",)),
    "variants": Needs(parts=("variants",)),
    "peers": Needs(("syncd",), PHASES, ("peers",)),
    "growth": Needs(parts=("growth",)),
    "compared": Needs(parts=("compared",)),
    **{way: Needs(parts=(way,)) for way in WAYS},
}
"""By the name that `--only` takes."""


def needs(names: Iterable[str]) -> Needs:
    """All that these rows need together."""
    wanted = [ROWS[name] for name in names]
    phases = {phase for need in wanted for phase in need.phases}
    return Needs(
        tuple(dict.fromkeys(system for need in wanted for system in need.systems)),
        tuple(phase for phase in PHASES if phase in phases),
        tuple(dict.fromkeys(part for need in wanted for part in need.parts)),
    )
