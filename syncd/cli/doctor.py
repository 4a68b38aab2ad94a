"""`syncd doctor`: which promises syncd cannot keep with the settings of the servers."""

# ruff: noqa: PLC0415 - what a verb imports when it runs does not slow the others down
from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from syncd.cli.shared import DIFFERENCE, DONE, Contracts, OldContracts, Output, one_path
from syncd.text import escaped, json_text

if TYPE_CHECKING:
    from syncd.ops.checks.conditions import Finding
    from syncd.ops.checks.preflight import PreflightReport


def doctor(
    path: OldContracts = None,
    contracts: Contracts = None,
    output: Output = "text",
) -> None:
    """Check both servers, and name every promise that cannot be kept, why, and what to do. Exit code 1 where a contract
    cannot run or a promise does not hold; advice alone leaves it at 0."""
    report = _examine(one_path(contracts, path))
    if output == "json":
        typer.echo(json_text(_as_dict(report)))
    else:
        lines = [escaped(str(line)) for line in (*report.servers, *report.findings)]
        typer.echo("\n".join([*lines, "" if report.findings else "every promise can be kept"]).strip())
    raise typer.Exit(DONE if _is_fine(report) else DIFFERENCE)


def _examine(contracts: Path | None) -> PreflightReport:
    """A server that syncd does not work with is a finding; one that cannot be reached is an error."""
    from syncd.contract.read.load import load_contract_set
    from syncd.errors import CapabilityError, ContractError
    from syncd.ops.checks.conditions import Finding, refused
    from syncd.ops.checks.preflight import PreflightReport, preflight
    from syncd.ops.checks.settings import check_settings
    from syncd.settings import Settings, contract_environment

    settings = Settings.from_environment(contracts=contracts)
    try:
        contract_set = load_contract_set(settings.contracts, contract_environment())
        check_settings(contract_set, settings)
        return preflight(contract_set, settings)
    except ContractError as error:
        return PreflightReport([], [refused(problem) for problem in error.problems])
    except CapabilityError as error:
        what, _, remedy = str(error).rpartition("; ")
        return PreflightReport([], [Finding("refused", what, remedy)])


def _is_fine(report: PreflightReport) -> bool:
    return all(finding.level == "advice" for finding in report.findings)


def _as_dict(report: PreflightReport) -> dict[str, Any]:
    return {
        "ok": _is_fine(report),
        "servers": report.servers,
        "findings": [_finding_as_dict(finding) for finding in report.findings],
    }


def _finding_as_dict(finding: Finding) -> dict[str, Any]:
    place = finding.problem
    return {
        "level": finding.level,
        "promises": list(finding.promises),
        "contracts": list(finding.contracts),
        "what": finding.what,
        "remedy": finding.remedy,
        "file": place and place.file,
        "line": place and place.line,
        "column": place and place.column,
    }
