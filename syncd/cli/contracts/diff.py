"""`syncd diff`: what two versions of contracts differ in, and what that means for those who read the keys."""

# ruff: noqa: PLC0415 - what a verb imports when it runs does not slow the others down
from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from syncd.cli.shared import DIFFERENCE, DONE, Output, coloured, counted
from syncd.text import escaped, json_text

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from syncd.contract.diff.sets import ContractDiff
    from syncd.contract.read.loaded import ContractSet

_COLOURS = {"major": "red", "minor": "yellow", "patch": "green"}
_REVISION = "a file, a directory, or a git revision such as HEAD~1 or main:contracts"


def diff(
    old: Annotated[str, typer.Argument(help=f"Contracts as they were: {_REVISION}.")],
    new: Annotated[
        str | None, typer.Argument(help="Contracts as they are, the same; without it SYNCD_CONTRACTS.")
    ] = None,
    output: Output = "text",
) -> None:
    """Print what differs for those who read the keys, and which kind of version that is: patch, minor or major.

    Exit code 1 where `metadata.version` says less, or where a contract goes that a team reads. Asks no server.
    """
    from syncd.contract.diff.sets import diff_sets
    from syncd.settings import Settings, contract_environment

    settings, env = Settings.from_environment(), contract_environment()
    after_at = Path(new) if new is not None else settings.contracts
    before = _loaded(old, after_at, env)
    after = _loaded(str(after_at), Path(old), env)
    found = diff_sets(before.contracts, after.contracts)
    if output == "json":
        typer.echo(json_text(_as_dict(found)))
    else:
        typer.echo("\n".join(_lines(found)))
    raise typer.Exit(DONE if all(one.is_announced for one in found) else DIFFERENCE)


def _loaded(said: str, beside: Path, env: Mapping[str, str]) -> ContractSet:
    """`beside`: the other side, whose place a revision has where it names none."""
    from syncd.contract.read.load import load_contract_set, load_files
    from syncd.contract.read.revision import files_of_revision

    if Path(said).exists():
        return load_contract_set(Path(said), env)
    return load_files(files_of_revision(said, beside), env)


def _as_dict(found: list[ContractDiff]) -> dict[str, object]:
    verdict = max((one.verdict for one in found), default=None)
    return {
        "verdict": "same" if verdict is None else str(verdict),
        "announced": all(one.is_announced for one in found),
        "contracts": [one.as_dict() for one in found],
    }


def _lines(found: list[ContractDiff]) -> Iterator[str]:
    changed = [one for one in found if one.changes]
    for one in changed:
        yield from contract_lines(one)
    if not changed:
        yield f"{counted(len(found), 'contract')}, and no difference"
        return
    verdict = max(one.verdict for one in found)
    yield f"{_shown(str(verdict))}: {len(changed)} of {counted(len(found), 'contract')} changed"


def contract_lines(one: ContractDiff) -> Iterator[str]:
    """One contract for a terminal."""
    old, new = one.versions
    version = " -> ".join(dict.fromkeys(filter(None, (old, new))))
    wanted = f"; the version has to be {one.wanted} at least" if one.wanted else ""
    breaks = f"; breaks {', '.join(one.breaks)}" if one.breaks else ""
    yield escaped(f"{one.name} {version}: ") + _shown(str(one.verdict)) + escaped(wanted + breaks)
    for change in one.changes:
        yield f"  {_shown(f'{change.verdict!s:5}')}  {change}"


def _shown(verdict: str) -> str:
    return coloured(verdict, _COLOURS.get(verdict.strip(), ""))
