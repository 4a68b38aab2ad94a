"""The simulation as a part of every test run: some hundred seeds, those that found something once, and the guards."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.simulation.both.guards import BOTH_GUARDS
from tests.simulation.guards.joins import JOIN_GUARDS
from tests.simulation.guards.keys import GUARDS, Guard
from tests.simulation.guards.members import MEMBER_GUARDS
from tests.simulation.mongo.oplog import Oplog
from tests.support.scale import SCALE

pytestmark = pytest.mark.timeout(900)

ROOT = Path(__file__).parents[2]
FIRST, COUNT = 1_000_000, 30 * SCALE
"""Their numbers are far from those of a long run."""
COUNT_EACH = 15 * SCALE
COUNT_BOTH = COUNT_MEMBERS = COUNT_JOINS = COUNT_SHARED = 10 * SCALE
REGRESSIONS = {
    "": (146, 201, 246, 262, 311, 401, 452, 496, 515, 74191, 79506),
    "both": (4, 12, 100, 146, 165, 188, 317, 426, 648),
    "members": (3923,),
    "joins": (3161,),
    "shared": (542,),
}
"""Seeds that found something once, see docs/simulation.md. A seed is another run after any change of the order in which
things are done: these are about the code as it was, and stay as examples."""
ALL_GUARDS = GUARDS + MEMBER_GUARDS + JOIN_GUARDS + BOTH_GUARDS
_ROW = re.compile(r"^\| (?P<name>[^|]+) \| (?P<seed>\d+) \| (?P<promise>\w+) \|$", re.MULTILINE)


def simulate(*options: str) -> str:
    """What it prints. A process of its own: syncd's modules get other threads and another clock there."""
    command = [sys.executable, "-m", "tests.simulation", *options]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-4000:]
    return done.stdout


def promises_hold(way: str, count: int) -> None:
    """With the seeds that found something, in one process: its start takes as long as fifty seeds."""
    also = ",".join(map(str, REGRESSIONS.get(way, ())))
    simulate(*([f"--{way}"] if way else []), "--first", str(FIRST), "--seeds", str(count), "--also", also)


def test_promises_hold() -> None:
    """nothing_lost, never_backwards, never_torn, no_ghosts, fenced, bounded: under random writes, elections, kills,
    pauses, cut links, fail-overs, evictions and edits, after every command that Redis takes."""
    promises_hold("", COUNT)


def test_promises_hold_of_elements() -> None:
    """nothing_lost, never_backwards, never_torn, no_ghosts, fenced: of contracts with a key for each element of an
    array, which come, change, go, and move between documents."""
    promises_hold("each", COUNT_EACH)


def test_promises_hold_of_members() -> None:
    """nothing_lost, never_backwards, never_torn, no_ghosts, fenced: of contracts whose documents share keys, as boards,
    tags, and boards that hold the best members alone."""
    promises_hold("members", COUNT_MEMBERS)


def test_promises_hold_of_joins() -> None:
    """nothing_lost, never_backwards, never_torn, no_ghosts, fenced: of contracts whose documents show others, while
    both sides change."""
    promises_hold("joins", COUNT_JOINS)


def test_promises_hold_of_shared_hashes() -> None:
    """nothing_lost, never_backwards, never_torn, no_ghosts, fenced: of contracts with hashes in which an application
    has fields as well."""
    promises_hold("shared", COUNT_SHARED)


def test_promises_hold_both_ways() -> None:
    """nothing_lost, never_backwards, never_torn, no_ghosts, no_echo, fenced: of contracts that go both ways, while
    applications write keys and documents."""
    promises_hold("both", COUNT_BOTH)


def test_one_seed_is_one_run() -> None:
    """A seed does the same every time, whatever ran before it."""
    told = [simulate("--first", str(first), "--seeds", str(8 - first), "--verbose") for first in (7, 4)]
    alone, behind = (re.findall(r"^seed 7: .*$", text, re.MULTILINE) for text in told)
    assert alone
    assert alone == behind


@pytest.mark.parametrize("kept", [1, 2, 3])
def test_the_oplog_is_cut_off_between_transactions(kept: int) -> None:
    """The model's oplog loses no half of a transaction: a stream from its time still tells all of it."""
    oplog = Oplog(lambda: 1.0)
    time = oplog.next_time()
    for index in range(3):
        oplog.note("insert", "films", index, {"_id": index}, None, time=time, index=index, is_single=False)
    oplog.commit()
    oplog.cut_off(kept)
    assert [change.index for change in oplog.entries] == [0, 1, 2]
    assert oplog.first == time


@pytest.mark.parametrize("guard", ALL_GUARDS, ids=lambda guard: guard.name)
def test_the_code_has_each_guard(guard: Guard) -> None:
    """What the simulation takes out is there to be taken out."""
    guard.library()
    with guard.taken_out():
        pass


def test_a_guard_that_is_missing_is_found() -> None:
    """Without any one of them its seed, or one of some others, breaks the promise that the table names. Where a change
    of the code makes other runs of all seeds, `make simulate ARGS="--guards --search"` says which to write down."""
    simulate("--guards", "--search", "--seeds", "2000")


def test_the_docs_have_the_table() -> None:
    """docs/simulation.md tells each guard with its seed and promise."""
    text = (ROOT / "docs" / "simulation.md").read_text(encoding="utf-8")
    rows = {found["name"].strip(): (int(found["seed"]), found["promise"]) for found in _ROW.finditer(text)}
    assert rows == {guard.name: (guard.seed, guard.promise) for guard in ALL_GUARDS}
