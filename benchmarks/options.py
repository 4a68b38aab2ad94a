"""The command line."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.plan import ROWS, Needs, needs
from benchmarks.results.report import LIMITS
from benchmarks.systems.base import SYSTEMS
from benchmarks.systems.products import PRODUCTS

FEWEST_DOCUMENTS = 10_000
"""Below, one batch holds everything, and there is no time between the first and the last write."""
DEFAULT_SYSTEMS = ("naive", "tuned", LIMITS, "syncd")


@dataclass(frozen=True, slots=True)
class Options:
    """What a run does. `systems` are those of every round, `peers` those of the first `peer_rounds`."""

    rows: tuple[str, ...]
    documents: int
    rounds: int
    latency_seconds: float
    systems: tuple[str, ...]
    peers: tuple[str, ...]
    peer_rounds: int
    products: bool
    """Whether products of others take part at all."""
    phases: tuple[str, ...]
    parts: tuple[str, ...]
    sizes: tuple[int, ...]
    out: Path | None
    publish: Path | None

    def document(self) -> dict[str, object]:
        """What the results file says of them."""
        return {
            "rows": list(self.rows),
            "documents": self.documents,
            "rounds": self.rounds,
            "latency_seconds": self.latency_seconds,
            "systems": list(self.systems),
            "peers": list(self.peers),
            "peer_rounds": self.peer_rounds,
        }


def parse(arguments: Sequence[str] | None) -> Options:
    """Read the command line; ends the process with 2 when it makes no sense."""
    parser = _parser()
    given = parser.parse_args(arguments)
    if (
        given.documents < FEWEST_DOCUMENTS
        or min(given.rounds, given.peer_rounds) < 1
        or given.latency_seconds <= 0
    ):
        parser.error(f"--documents from {FEWEST_DOCUMENTS:,}, rounds from 1, --latency-seconds above 0")
    rows = _names(parser, "row", given.only, ROWS) if given.only else tuple(ROWS)
    wanted = needs(rows)
    known = [*SYSTEMS, *PRODUCTS, LIMITS]
    named = _names(parser, "system", given.systems, known) if given.systems else None
    tenths = (1, 10, 100) if given.growth else (1, 5, 10)
    return Options(
        rows=rows,
        documents=given.documents,
        rounds=given.rounds,
        latency_seconds=given.latency_seconds,
        systems=_systems(named, wanted),
        peers=_peers(named, wanted) if given.peers else (),
        peer_rounds=min(given.peer_rounds, given.rounds),
        products=given.peers,
        phases=wanted.phases,
        parts=wanted.parts,
        sizes=tuple(given.documents * part // 10 for part in tenths),
        out=given.out,
        publish=given.publish,
    )


def _systems(named: Sequence[str] | None, wanted: Needs) -> tuple[str, ...]:
    if named is not None:
        return tuple(name for name in named if name not in PRODUCTS)
    return tuple(name for name in DEFAULT_SYSTEMS if name in wanted.systems)


def _peers(named: Sequence[str] | None, wanted: Needs) -> tuple[str, ...]:
    if named is not None:
        return tuple(name for name in named if name in PRODUCTS)
    return tuple(PRODUCTS) if "peers" in wanted.parts else ()


def _names(
    parser: argparse.ArgumentParser, what: str, given: str, known: Sequence[str] | dict[str, Needs]
) -> tuple[str, ...]:
    names = tuple(given.split(","))
    if unknown := [name for name in names if name not in known]:
        parser.error(f"no such {what}: {', '.join(unknown)}; there are {', '.join(known)}")
    return names


def _parser() -> argparse.ArgumentParser:
    systems = ",".join([*SYSTEMS, LIMITS, *PRODUCTS])
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks", description="syncd beside its peers and beside the servers' limits."
    )
    add = parser.add_argument
    add("--documents", type=int, default=100_000, help="at least 10,000 (default 100,000)")
    add("--rounds", type=int, default=3)
    add("--latency-seconds", type=float, default=10.0, help="length of a latency phase")
    add("--only", metavar="ROWS", help=f"measure what these rows need, of {','.join(ROWS)}")
    add("--systems", help=f"some of {systems}")
    add(
        "--peers",
        action=argparse.BooleanOptionalAction,
        default=True,
        help="install products of others under .cache/bench and measure them too",
    )
    add("--peer-rounds", type=int, default=1, help="rounds in which they take part (default 1)")
    add("--growth", action="store_true", help="growth up to ten times --documents, not only from a tenth")
    add("--out", type=Path, help="write all figures of all rounds to this JSON file")
    add(
        "--publish",
        type=Path,
        metavar="JSON",
        help="measure nothing: write the table of README.md and docs/benchmark.svg from such a file",
    )
    return parser
