"""`syncd check`: every problem of every contract, before anything runs."""

# ruff: noqa: PLC0415 - what a verb imports when it runs does not slow the others down
from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from syncd.cli.shared import DIFFERENCE, Output
from syncd.text import escaped, json_text

if TYPE_CHECKING:
    from syncd.contract.loaded import ContractSet, LoadedContract
    from syncd.errors import ContractError, Problem


def check(
    directory: Annotated[
        Path, typer.Argument(envvar="SYNCD_CONTRACTS", help="Directory of contracts, or one file.")
    ] = Path("contracts"),
    connect: Annotated[
        bool, typer.Option("--connect", help="Also ask MongoDB and Redis whether they can hold it.")
    ] = False,
    output: Output = "text",
) -> None:
    """Print every problem with its place and remedy (exit code 1), or one line a contract."""
    from syncd.contract.load import load_contract_set
    from syncd.errors import ContractError
    from syncd.settings import contract_environment

    try:
        contract_set = load_contract_set(directory, contract_environment())
        if connect:
            _ask_servers(contract_set)
        contracts = contract_set.contracts
    except ContractError as error:
        typer.echo(_problems_as_json(error.problems) if output == "json" else _problems_as_text(error))
        raise typer.Exit(DIFFERENCE) from None
    summaries = [_summary(contract) for contract in contracts]
    if output == "json":
        typer.echo(_json({"ok": True, "contracts": summaries, "problems": []}))
    else:
        typer.echo("\n".join(escaped(_line(summary)) for summary in summaries))


def _ask_servers(contracts: ContractSet) -> None:
    """Say on stderr what the servers are. Raises ContractError with every problem that they have with a contract."""
    from syncd.errors import ContractError
    from syncd.ops.preflight import preflight
    from syncd.settings import Settings

    report = preflight(contracts, Settings.from_environment())
    told = [str(finding) for finding in report.findings if finding.problem is None]
    typer.echo("\n".join(map(escaped, [*report.servers, *told])), err=True)
    if report.problems:
        raise ContractError(report.problems)


def _problems_as_text(error: ContractError) -> str:
    count = f"{_counted(error.count, 'problem')} in {_counted(error.files, 'file')}"
    return "\n".join([*map(str, error.problems), count])


def _counted(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def _problems_as_json(problems: list[Problem]) -> str:
    names = ("file", "line", "column", "what", "remedy")
    rows = [{name: getattr(problem, name) for name in names} for problem in problems]
    return _json({"ok": False, "contracts": [], "problems": rows})


def _summary(loaded: LoadedContract) -> dict[str, Any]:
    contract = loaded.contract
    return {
        "file": loaded.file,
        "name": contract.name,
        "version": loaded.written("metadata", "version"),
        "owner": loaded.written("metadata", "owner"),
        "collection": loaded.written("mongo", "collection"),
        "direction": contract.sync.direction,
        "projections": [
            {
                "name": loaded.written("redis", at, "projection"),
                "type": projection.type,
                "key": loaded.written("redis", at, "key"),
                "index": projection.index and loaded.written("redis", at, "index", "name"),
            }
            for at, projection in enumerate(contract.redis)
        ],
    }


def _line(summary: dict[str, Any]) -> str:
    shapes = [
        f"{shape['type']} {shape['key']}" + (f" (index {shape['index']})" if shape["index"] else "")
        for shape in summary["projections"]
    ]
    arrow = {"redis_to_mongo": "<-", "both": "<->"}.get(summary["direction"], "->")
    return f"{summary['name']} {summary['version']}: {summary['collection']} {arrow} {', '.join(shapes)}"


def _json(value: dict[str, Any]) -> str:
    return json_text(value)
