"""`syncd test`: the tests of contracts, and what real documents would become."""

# ruff: noqa: PLC0415 - what a verb imports when it runs does not slow the others down
from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from syncd.cli.shared import DIFFERENCE, DONE, Contracts, Output, counted
from syncd.text import escaped, json_text

if TYPE_CHECKING:
    from syncd.contract.read.contract_tests import LoadedTest
    from syncd.contract.read.loaded import ContractSet
    from syncd.preview.trial import Verdict
    from syncd.settings import Settings
    from syncd.stores.mongo.store import MongoStore


def test(
    contracts: Contracts = None,
    connect: Annotated[
        bool,
        typer.Option(
            "--connect",
            help="Ask the MongoDB of SYNCD_MONGO_URI which documents match a filter; otherwise an embedded one, where "
            "syncd[demo] is installed. Nothing is written there.",
        ),
    ] = False,
    sample: Annotated[
        int | None,
        typer.Option(
            "--sample",
            min=1,
            max=10_000,
            help="Also project so many real documents, keys or entries of each contract, and report those that would "
            "be dead letters. Nothing is written.",
        ),
    ] = None,
    name: Annotated[
        str | None, typer.Option("-k", metavar="TEXT", help="Only tests with this in `contract: name`.")
    ] = None,
    junit: Annotated[
        Path | None, typer.Option("--junit", metavar="FILE", help="Also write a report in JUnit's XML.")
    ] = None,
    output: Output = "text",
) -> None:
    """Run the tests of contracts: `tests:` in a contract, and files NAME.test.yaml beside it. Only filters need a
    server, because MongoDB evaluates them: without one, tests of such contracts are skipped, and the output says so.

    Exit code 1 where a test fails, where there is none, or where --sample finds a dead letter.
    """
    from syncd.contract.read.load import load_contract_set
    from syncd.errors import ContractError
    from syncd.preview.report import as_dict, as_junit
    from syncd.settings import Settings, contract_environment

    settings = Settings.from_environment(contracts=contracts)
    try:
        contract_set = load_contract_set(settings.contracts, contract_environment())
        verdicts = _run(settings, _tests(settings, contract_set, name), connect=connect)
    except ContractError as error:
        typer.echo(
            json_text({"ok": False, "problems": list(map(str, error.problems))})
            if output == "json"
            else error
        )
        raise typer.Exit(DIFFERENCE) from None
    sampled = [] if sample is None else _sampled(settings, contract_set, sample)
    if junit is not None:
        junit.write_text(as_junit(verdicts), encoding="utf-8")
    is_bad = any(one.status == "failed" for one in verdicts) or any(one["dead_letters"] for one in sampled)
    is_fine = bool(verdicts or sampled) and not is_bad
    if output == "json":
        typer.echo(json_text({"ok": is_fine, "tests": list(map(as_dict, verdicts)), "sample": sampled}))
    else:
        typer.echo(_as_text(verdicts, sampled))
    raise typer.Exit(DONE if is_fine else DIFFERENCE)


def _as_text(verdicts: list[Verdict], sampled: list[dict[str, Any]]) -> str:
    from syncd.preview.report import as_lines

    lines = [line for one in verdicts for line in as_lines(one)]
    lines += [line for one in sampled for line in _sample_lines(one)]
    return "\n".join(map(escaped, [*lines, _summary(verdicts)]))


def _tests(settings: Settings, contracts: ContractSet, name: str | None) -> list[LoadedTest]:
    """All that are asked for. Raises ContractError where a file beside the contracts has mistakes."""
    from syncd.contract.lint.contract_tests import all_tests
    from syncd.settings import contract_environment

    tests = all_tests(settings.contracts, contracts.contracts, contract_environment())
    return [one for one in tests if name is None or name in f"{one.contract.contract.name}: {one.test.name}"]


def _run(settings: Settings, tests: Iterable[LoadedTest], *, connect: bool) -> list[Verdict]:
    from syncd.preview.matching import Matching
    from syncd.preview.trial import run_test
    from syncd.stores.mongo.store import MongoStore

    def given(stack: ExitStack) -> MongoStore | None:
        return MongoStore.of(settings)

    with Matching(given if connect else _embedded) as matching:
        return [run_test(one, matching.ask) for one in tests]


def _embedded(stack: ExitStack) -> MongoStore | None:
    """Of a mongod that runs until the stack closes; None where none is installed."""
    from syncd.embedded import Mongod
    from syncd.errors import PlatformError
    from syncd.stores.mongo.store import MongoStore

    try:
        return MongoStore(stack.enter_context(Mongod()).uri)
    except PlatformError:
        return None


def _sampled(settings: Settings, contracts: ContractSet, count: int) -> list[dict[str, Any]]:
    """What real documents, keys and entries would become: counts of dead letters, and never a value."""
    from syncd.preview.asked import outcomes_of, single_contracts

    found = []
    for contract in single_contracts(settings, contracts):
        outcomes = list(outcomes_of(settings, contract, sample=count))
        dead = Counter(
            (one.projection, one.reason, one.detail) for outcome in outcomes for one in outcome.dead_letters
        )
        rows = [
            {"count": number, "projection": projection, "reason": reason, "detail": detail}
            for (projection, reason, detail), number in dead.most_common()
        ]
        found.append({"contract": contract.name, "sampled": len(outcomes), "dead_letters": rows})
    return found


def _sample_lines(said: dict[str, Any]) -> Iterable[str]:
    dead = sum(row["count"] for row in said["dead_letters"])
    yield f"sample of {said['contract']}: {said['sampled']} read, {counted(dead, 'dead letter')}"
    for row in said["dead_letters"]:
        yield f"  {row['count']} x {row['projection']}: {row['reason']}: {row['detail']}"


def _summary(verdicts: list[Verdict]) -> str:
    counts = Counter(one.status for one in verdicts)
    if not verdicts:
        return "no test was found: write `tests:` in a contract, or a file NAME.test.yaml beside it"
    parts = [f"{counts[word]} {word}" for word in ("passed", "failed", "skipped") if counts[word]]
    summary = ", ".join(parts)
    return summary if not counts["skipped"] else f"{summary}: SKIPPED tests have shown nothing"
