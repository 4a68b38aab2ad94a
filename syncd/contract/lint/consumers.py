"""Rules about those who read the keys: what they are said to read is there."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from difflib import get_close_matches

from syncd.contract.model.consumers import ALL
from syncd.contract.model.redis.projection import Projection
from syncd.contract.read.loaded import LoadedContract
from syncd.contract.read.source import Path
from syncd.errors import Problem


def teams_are_unique(contracts: Sequence[LoadedContract]) -> Iterator[Problem]:
    """One entry says all that a team reads."""
    for contract in contracts:
        teams: set[str] = set()
        for at, consumer in enumerate(contract.contract.consumers):
            path = ("consumers", at, "team")
            if contract.sound(*path) and consumer.team in teams:
                what = f"the team `{contract.written(*path)}` again"
                yield contract.problem(path, what, "write all that it reads into one entry")
            teams.add(consumer.team)


def what_consumers_read_is_there(contracts: Sequence[LoadedContract]) -> Iterator[Problem]:
    """A contract that takes away what a team reads is not taken up before the team has agreed."""
    for contract in contracts:
        if not contract.sound("consumers") or not contract.sound("redis"):
            continue
        projections = {projection.projection: (at, projection) for at, projection in contract.projections()}
        for at, consumer in enumerate(contract.contract.consumers):
            for name, fields in consumer.reads.items():
                path = ("consumers", at, "reads", name)
                if not contract.sound(*path):
                    continue
                if name not in projections:
                    yield _no_projection(contract, path, consumer.team, name, list(projections))
                else:
                    yield from _fields(contract, path, consumer.team, fields, projections[name])


def _no_projection(contract: LoadedContract, path: Path, team: str, name: str, known: list[str]) -> Problem:
    what = f"{team} reads projection `{name}`, which the contract does not have"
    return contract.problem_at_key(path, what, f"{_meant(name, known)}or ask {team}, and remove this line")


def _fields(
    contract: LoadedContract, path: Path, team: str, fields: Sequence[str], found: tuple[int, Projection]
) -> Iterator[Problem]:
    at, projection = found
    known = readable(projection)
    if known is None or not contract.sound("redis", at, "fields"):
        return
    for nth, field in enumerate(fields):
        if field != ALL and field not in known:
            what = f"{team} reads `{field}` of projection {projection.projection}, which does not have it"
            remedy = f"{_meant(field, sorted(known))}or ask {team}, and remove it here"
            yield contract.problem((*path, nth), what, remedy)


def readable(projection: Projection) -> set[str] | None:
    """Names that can be read of a key; None where these are up to the documents."""
    if projection.whole:
        return None
    return {*(projection.fields or ()), *(projection.attributes or ()), *(projection.labels or ())}


def _meant(name: str, known: Sequence[str]) -> str:
    close = get_close_matches(name, known, 1)
    return (
        f"did you mean `{close[0]}`? "
        if close
        else f"name one of {', '.join(known)}, "
        if known
        else "write all, "
    )


RULES = (teams_are_unique, what_consumers_read_is_there)
