"""`syncd approve`: let daemons take up an edit of a contract with `sync: {apply: planned}`."""

# ruff: noqa: PLC0415 - what a verb imports when it runs does not slow the others down
from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from syncd.cli.contracts.plan import plan_lines, planned_edit
from syncd.cli.shared import DIFFERENCE, USAGE, Contracts, contract_names, person, redis_of_settings
from syncd.text import escaped


def approve(
    contract: Annotated[str, typer.Argument(help="Name of the contract.", autocompletion=contract_names)],
    plan: Annotated[
        str | None, typer.Argument(metavar="PLAN", help="As `syncd plan` and `syncd status` name it.")
    ] = None,
    contracts: Contracts = None,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
) -> None:
    """Approve an edit of a contract with `apply: planned`: daemons take it up when their file is this one.

    Without PLAN it shows the plan of the files here, and asks. Exit code 1 where there is nothing to approve, and
    where PLAN is not current: no daemon waits for it, and it is not that of the files here.
    """
    from syncd.errors import RequestError
    from syncd.ops.actions import Actions
    from syncd.stores.redis.records.requests.approvals import is_plan_id

    if plan is not None and not is_plan_id(plan):
        raise typer.BadParameter("no plan has this name; `syncd plan` and `syncd status` name it")
    ahead = plan is None or _is_here(contract, contracts, plan)
    chosen = plan or _shown(contract, contracts, yes=yes)
    try:
        waits = Actions(redis_of_settings(), person()).approve(contract, chosen, ahead=ahead)
    except RequestError as error:
        typer.echo(escaped(str(error)), err=True)
        raise typer.Exit(DIFFERENCE) from None
    then = (
        "`syncd status` shows what becomes of it"
        if waits
        else "the next daemon that has this file takes it up"
    )
    typer.echo(escaped(f"approved plan {chosen} of contract {contract}; {then}"))


def _is_here(contract: str, contracts: Path | None, plan: str) -> bool:
    """Whether the files here have this plan; there need not be any."""
    from syncd.contract.read.load import load_contract_set
    from syncd.errors import ContractError
    from syncd.settings import Settings, contract_environment
    from syncd.stores.redis.records.requests.approvals import plan_id

    try:
        found = load_contract_set(
            Settings.from_environment(contracts=contracts).contracts, contract_environment()
        )
    except ContractError:
        return False
    return any(one.contract.name == contract and plan_id(one.source.text) == plan for one in found.contracts)


def _shown(contract: str, contracts: Contracts, *, yes: bool) -> str:
    """The plan of the files here, which a person has seen."""
    found = planned_edit(contracts)
    found.steps[:] = [step for step in found.steps if step.contract.partition("@")[0] == contract]
    waiting = [step.plan for step in found.steps if step.waits]
    if not waiting:
        typer.echo(
            escaped(f"no edit of contract {contract} waits for approval; `syncd plan` shows all"), err=True
        )
        raise typer.Exit(DIFFERENCE)
    typer.echo("\n".join(plan_lines(found)))
    if not yes:
        if not sys.stdin.isatty():
            typer.echo("nothing was approved: there is no terminal to ask on; give PLAN, or --yes", err=True)
            raise typer.Exit(USAGE)
        typer.confirm(f"approve plan {waiting[0]} of contract {contract}?", abort=True)
    return waiting[0]
