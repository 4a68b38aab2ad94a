"""`syncd plan`: what a daemon would do that takes up these files, before it does."""

# ruff: noqa: PLC0415 - what a verb imports when it runs does not slow the others down
from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from syncd.cli.contracts.diff import contract_lines
from syncd.cli.shared import DIFFERENCE, DONE, Contracts, Output, coloured, counted, one_path, shown
from syncd.text import escaped, json_text

if TYPE_CHECKING:
    from collections.abc import Iterator

    from syncd.ops.checks.conditions import Finding
    from syncd.ops.planning.keys import KeyCount
    from syncd.ops.planning.sample import Copy
    from syncd.ops.planning.step import EditPlan, Step

CHANGES = 2
"""Of `--exit-code`, as with Terraform."""
_COLOURS = {
    "refused": "red",
    "stops": "red",
    "copy": "yellow",
    "keys": "yellow",
    "begins": "green",
    "index": "cyan",
}
_INDEXES = {
    "made": "is made", "beside": "a new generation beside the one that serves", "dropped": "is dropped",
    "again": "is made again in its place, and searches find less meanwhile",
}  # fmt: skip


def plan(
    path: Annotated[
        Path | None,
        typer.Argument(metavar="PATH", help="Directory of contracts, or one file (SYNCD_CONTRACTS)."),
    ] = None,
    contracts: Contracts = None,
    exit_code: Annotated[
        bool,
        typer.Option("--exit-code", help="0: nothing to do, 2: something to do, 1: refused, or any error."),
    ] = False,
    output: Output = "text",
) -> None:
    """Print what a daemon would do that takes up these files, and what that means for readers.

    By contract: nothing, a restart, a new index, a copy with its size, keys that go, or why it is refused. Asks MongoDB
    and Redis, and only reads. Exit code 1 where a contract is refused.
    """
    from syncd.errors import SyncdError

    try:
        found = planned_edit(one_path(contracts, path))
    except SyncdError as error:
        if not exit_code:
            raise
        typer.echo(f"syncd: {shown(error)}", err=True)
        raise typer.Exit(DIFFERENCE) from None
    if output == "json":
        typer.echo(json_text(found.as_dict()))
    else:
        typer.echo("\n".join(plan_lines(found)))
    raise typer.Exit(_code(found, detailed=exit_code))


def planned_edit(path: Path | None) -> EditPlan:
    from syncd.contract.read.load import load_contract_set
    from syncd.ops.checks.settings import check_settings
    from syncd.ops.planning.plan import plan_edit
    from syncd.settings import Settings, contract_environment

    settings, env = Settings.from_environment(contracts=path), contract_environment()
    contract_set = load_contract_set(settings.contracts, env)
    check_settings(contract_set, settings)
    return plan_edit(contract_set, settings, env, is_whole=settings.contracts.is_dir())


def _code(found: EditPlan, *, detailed: bool) -> int:
    if found.is_refused:
        return DIFFERENCE
    return CHANGES if detailed and found.is_change else DONE


def plan_lines(found: EditPlan) -> Iterator[str]:
    yield from (escaped(one) for one in found.servers)
    unchanged = []
    for step in found.steps:
        lines = list(_contract(step))
        if step.is_change or len(lines) > 1:
            yield from lines
        else:
            unchanged.append(step.contract)
    if unchanged:
        yield f"same: {escaped(', '.join(unchanged))}"
    yield from (escaped(str(one)) for one in _of_several(found))
    memory = found.memory
    if memory.after != memory.used:
        share = f", {memory.share:.0%} of maxmemory" if memory.share is not None else ", without a maxmemory"
        yield f"memory of Redis: {_bytes(memory.used)}, and about {_bytes(memory.after)} afterwards{share}"
    counts = {word: sum(one.action.value == word for one in found.steps) for word in _order(found)}
    yield ", ".join(f"{count} {word}" for word, count in counts.items()) or "no contract"


def _of_several(found: EditPlan) -> list[Finding]:
    """What is wrong with the servers, once for all contracts that it concerns."""
    each = (one for planned in found.steps for one in planned.findings if one.level == "promise")
    return [*dict.fromkeys(each), *found.findings]


def _order(found: EditPlan) -> list[str]:
    present = {one.action for one in found.steps}
    return [action.value for action in type(found.steps[0].action) if action in present] if present else []


def _contract(planned: Step) -> Iterator[str]:
    word = planned.action.value
    verdict = (
        f", {planned.diff.verdict} for readers" if planned.diff is not None and planned.diff.changes else ""
    )
    yield f"{escaped(planned.contract)}: {coloured(word, _COLOURS.get(word, ''))}{verdict}"
    if planned.waits:
        whole = escaped(planned.contract.partition("@")[0])
        yield f"  plan {planned.plan}: waits for `syncd approve {whole} {planned.plan}`"
    if planned.paused is not None:
        until = ", and none of this happens before" if planned.is_change else ""
        yield escaped(f"  {planned.paused}{until}")
    if planned.copy is not None:
        yield f"  {_copy(planned.copy)}"
    if planned.keys is not None:
        yield f"  {counted(planned.keys, 'key')} read and written to MongoDB"
    for name, becomes in planned.indexes.items():
        if becomes in _INDEXES:
            yield escaped(f"  index {name}: {_INDEXES[becomes]}")
    yield from (f"  {_going(one)}" for one in planned.going)
    yield from (
        escaped(f"  takes over {_claim(name)} from contract {other}") for name, other in planned.taken.items()
    )
    yield from (
        escaped(f"  hands over {_claim(name)} to contract {other}") for name, other in planned.given.items()
    )
    if planned.diff is not None and planned.diff.old is not None:
        yield from (f"  {line}" for line in contract_lines(planned.diff) if planned.diff.changes)
    yield from (f"  {escaped(str(one))}" for one in planned.findings if one.level != "promise")
    yield from (escaped(f"  {note}") for note in planned.notes)


def _claim(name: str) -> str:
    """A key template or an index name."""
    from syncd.contract.model.redis.template import KeyTemplate
    from syncd.plan.claims import INDEX, KEY

    if name.startswith(INDEX):
        return f"index {name.removeprefix(INDEX)}"
    return f"`{KeyTemplate.recorded(name.removeprefix(KEY)).shown}`"


def _copy(copy: Copy) -> str:
    at_most = "at most" if copy.at_most else "about"
    keys = ", ".join(f"{count:,} of {name}" for name, count in copy.keys.items())
    dead = f", {copy.dead_letters:,} dead letters" if copy.dead_letters else ""
    return escaped(
        f"copy of {at_most} {copy.documents:,} documents in about {_seconds(copy.seconds)}: keys {keys or 'none'}{dead}"
        f"; {_bytes(copy.content)}, in Redis {_bytes(copy.memory)}"
    )


def _going(one: KeyCount) -> str:
    from syncd.to_mongo.state.keys.unfit_keys import shown as shown_key

    at_least = "at least " if one.at_least else ""
    such = ", ".join(f"`{shown_key(key)}`" for key in one.samples)
    what = "members" if one.shape.is_shared else "keys"
    return escaped(
        f"{at_least}{one.count:,} {what} of `{one.shape.template.shown}` go{f', such as {such}' if such else ''}"
    )


def _seconds(seconds: float) -> str:
    if seconds < 1:
        return "a second"
    return f"{seconds:.0f} s" if seconds < 120 else f"{seconds / 60:.0f} min"


def _bytes(number: int) -> str:
    size: float = number
    for unit in ("B", "kB", "MB"):
        if size < 1000:
            return f"{size:.3g} {unit}"
        size /= 1000
    return f"{size:.3g} GB"
