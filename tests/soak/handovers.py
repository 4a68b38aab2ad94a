"""Edits after which other contracts hold the same keys: what readers see of them must not differ.

`contracts.restore` undoes each.
"""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from typing import TypeAlias

from tests.soak.contracts import SHORTS, Files, names, text

Edit: TypeAlias = Callable[[Files], None]

OTHER = "handed"
"""What the names of contracts, and of projections, end with that are there for a while only."""


def renamed(short: str) -> Edit:
    """The contract has another name."""

    def edit(directory: Files) -> None:
        directory.write_text(short, _named(short, f"{names(short).contract}-{OTHER}"))

    return edit


def moved(short: str) -> Edit:
    """Its projection is in a file of its own; the contract has another one."""

    def edit(directory: Files) -> None:
        directory.write_text(f"{short}-{OTHER}", _named(short, f"{names(short).contract}-{OTHER}"))
        directory.write_text(short, text(short, {"v": "v", "w": "w"}, name=OTHER))

    return edit


def swapped(one: str, other: str) -> Edit:
    """Two contracts have each other's collection and template."""

    def edit(directory: Files) -> None:
        directory.write_text(one, _named(one, names(other).contract))
        directory.write_text(other, _named(other, names(one).contract))

    return edit


def removed(short: str) -> Edit:
    """No contract has its keys; they stay."""

    def edit(directory: Files) -> None:
        directory.remove(short)

    return edit


def any_of(chance: random.Random) -> tuple[str, Edit]:
    """One of them, and what it is."""
    one, other = chance.sample(SHORTS, 2)
    return chance.choice(
        (
            (f"{one} renamed", renamed(one)),
            (f"{one} moved", moved(one)),
            (f"{one} and {other} swapped", swapped(one, other)),
            (f"{one} removed", removed(one)),
        )
    )


def _named(short: str, name: str) -> str:
    said = json.loads(text(short))
    said["metadata"]["name"] = name
    return json.dumps(said, indent=2)
