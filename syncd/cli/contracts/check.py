"""`syncd check`: every problem of every contract, before anything runs."""

# ruff: noqa: PLC0415 - what a verb imports when it runs does not slow the others down
from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from syncd.cli.shared import DIFFERENCE, Contracts, OldContracts, Output, counted, one_path
from syncd.text import escaped, json_text

if TYPE_CHECKING:
    from syncd.contract.read.loaded import ContractSet, LoadedContract
    from syncd.errors import ContractError, Problem
    from syncd.settings import Settings


def check(
    path: OldContracts = None,
    contracts: Contracts = None,
    connect: Annotated[
        bool,
        typer.Option("--connect", help="Also check that MongoDB and Redis have what the contracts need."),
    ] = False,
    output: Output = "text",
) -> None:
    """Print every problem with its place and remedy (exit code 1), or one line a contract, and on stderr what may leave
    documents out of a search index. `syncd run` accepts what passes here under the same settings."""
    from syncd.contract.lint.contract_tests import all_tests
    from syncd.contract.lint.redis.index_warnings import warnings
    from syncd.contract.read.load import load_contract_set
    from syncd.errors import ContractError
    from syncd.ops.checks.settings import check_settings
    from syncd.settings import Settings, contract_environment

    settings = Settings.from_environment(contracts=one_path(contracts, path))
    try:
        contract_set = load_contract_set(settings.contracts, contract_environment())
        all_tests(settings.contracts, contract_set.contracts, contract_environment())
        check_settings(contract_set, settings)
        if connect:
            _ask_servers(contract_set, settings)
    except ContractError as error:
        typer.echo(_problems_as_json(error.problems) if output == "json" else _problems_as_text(error))
        raise typer.Exit(DIFFERENCE) from None
    summaries = [_summary(contract) for contract in contract_set.contracts]
    warned = warnings(contract_set.contracts)
    if output == "json":
        more = {"warnings": _rows(warned)} if warned else {}
        typer.echo(_json({"ok": True, "contracts": summaries, "problems": [], **more}))
    else:
        for problem in warned:
            typer.echo(f"warning: {problem}", err=True)
        typer.echo("\n".join(escaped(_line(summary)) for summary in summaries))


def _ask_servers(contracts: ContractSet, settings: Settings) -> None:
    """Print on stderr what the servers are. Raises ContractError with every problem that they have with a contract."""
    from syncd.errors import ContractError
    from syncd.ops.checks.preflight import preflight

    report = preflight(contracts, settings)
    advice = [str(finding) for finding in report.findings if finding.problem is None]
    typer.echo("\n".join(map(escaped, [*report.servers, *advice])), err=True)
    if report.problems:
        raise ContractError(report.problems)


def _problems_as_text(error: ContractError) -> str:
    count = f"{counted(error.count, 'problem')} in {counted(error.files, 'file')}"
    return "\n".join([*map(str, error.problems), count])


def _problems_as_json(problems: list[Problem]) -> str:
    return _json({"ok": False, "contracts": [], "problems": _rows(problems)})


def _rows(problems: list[Problem]) -> list[dict[str, Any]]:
    names = ("file", "line", "column", "what", "remedy")
    return [{name: getattr(problem, name) for name in names} for problem in problems]


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
