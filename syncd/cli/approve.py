"""`syncd approve`: let daemons take up an edit of a contract with `sync: {apply: planned}`."""

# ruff: noqa: PLC0415 - what a verb imports when it runs does not slow the others down
from __future__ import annotations

import sys
from typing import Annotated

import typer

from syncd.cli.plan import plan_lines, planned_edit
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

    Without PLAN it shows the plan of the files here, and asks. Exit code 1 where there is nothing to approve.
    """
    from syncd.stores.redis.records.approvals import approve as approve_plan
    from syncd.stores.redis.records.approvals import is_plan_id

    if plan is not None and not is_plan_id(plan):
        raise typer.BadParameter("no plan has this name; `syncd plan` and `syncd status` name it")
    if plan is None:
        plan = _shown(contract, contracts, yes=yes)
    approve_plan(redis_of_settings(), contract, plan, person())
    typer.echo(
        escaped(f"approved plan {plan} of contract {contract}; `syncd status` shows what becomes of it")
    )


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
