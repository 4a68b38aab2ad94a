"""The reference says all that the code has, and the other pages say nothing that is not so."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

import pytest
import typer
from pydantic import BaseModel

from syncd import telemetry
from syncd.cli import app
from syncd.contract.model.contract import Contract
from syncd.contract.read.load import load_contract_set
from syncd.settings import Settings
from syncd.telemetry.metrics import labels_of

ROOT = Path(__file__).parents[2]
REFERENCE = ROOT / "docs" / "reference"
PAGES = sorted(
    path
    for folder in (".", "docs", "examples", "deploy", "benchmarks")
    for path in (ROOT.glob("*.md") if folder == "." else (ROOT / folder).rglob("*.md"))
)
_FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_LINK = re.compile(r"(?<!!)\[[^\]]*\]\(([^)\s]+)\)")


def page(name: str) -> str:
    return (REFERENCE / name).read_text(encoding="utf-8")


def test_the_reference_is_what_the_generator_writes() -> None:
    """Docs/reference is not edited by hand, and is written again after each change."""
    run = subprocess.run(
        [sys.executable, ROOT / "docs" / "generate.py", "--check"],
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert run.returncode == 0, run.stderr


def models(annotation: Any) -> Iterator[type[BaseModel]]:
    """Every model that a type mentions."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for part in get_args(annotation):
        yield from models(part)


def contract_keys() -> set[str]:
    """Every key of every model that a contract is made of."""
    keys, seen, todo = set(), set(), [Contract]
    while todo:
        model = todo.pop()
        seen.add(model)
        for name, field in model.model_fields.items():
            if not field.exclude:
                keys.add(field.alias or name)
            todo += [inner for inner in models(field.annotation) if inner not in seen]
    return keys


def test_every_contract_key_is_in_the_reference() -> None:
    """With a type, and with words about it."""
    keys = contract_keys()
    assert {"apiVersion", "from", "on_unresumable_position", "ef_runtime"} <= keys
    text = page("contract.md")
    missing = [key for key in sorted(keys) if f"\n| `{key}` | " not in text]
    assert not missing
    silent = re.findall(r"^\| `(\w+)` \|.*\|  \|$", text, re.MULTILINE)
    assert not silent, f"without a description: {silent}"


@pytest.mark.parametrize("name", Settings.model_fields)
def test_every_setting_is_in_the_reference(name: str) -> None:
    """Under its own name and as a file."""
    variable = f"SYNCD_{name.upper()}"
    row = next(line for line in page("settings.md").splitlines() if line.startswith(f"| `{variable}` |"))
    assert f"`{variable}_FILE`" in row
    assert Settings.model_fields[name].description in row


def test_every_metric_is_in_the_reference() -> None:
    """With type, labels and help."""
    text = page("metrics.md")
    for family in telemetry.REGISTRY.collect():
        name = family.name + ("_total" if family.type == "counter" else "")
        row = next(
            (line for line in text.splitlines() if line.startswith(f"| `{name}` | {family.type} |")), ""
        )
        assert family.documentation in row, name
    for metric in telemetry.REGISTRY.metrics:
        for label in labels_of(metric):
            assert f"`{label}`" in text


def sections(text: str) -> dict[str, str]:
    """A page by its headings of the second level."""
    parts = re.split(r"^## (.+)$", text, flags=re.MULTILINE)
    return dict(zip(parts[1::2], parts[2::2], strict=True))


def commands(command: Any, name: str) -> Iterator[tuple[str, Any]]:
    """Every command with its full name, groups left out."""
    inner = getattr(command, "commands", None)
    if not inner:
        yield name, command
        return
    for word, below in inner.items():
        yield from commands(below, f"{name} {word}")


def test_every_verb_and_option_is_in_the_reference() -> None:
    """As the parser knows them, not as the page's generator does."""
    described = sections(page("cli.md"))
    found = dict(commands(typer.main.get_command(app), "syncd"))
    assert {"syncd run", "syncd check", "syncd init", "syncd status", "syncd schema", "syncd demo"} <= set(
        found
    )
    for name, command in found.items():
        assert name in described
        assert " ".join((command.help or "").split()) in " ".join(described[name].split())
        for parameter in command.params:
            for option in (*parameter.opts, *parameter.secondary_opts):
                known = option if option.startswith("-") else (parameter.metavar or option).upper()
                assert re.search(rf"^\| `.*{re.escape(known)}.*` \|", described[name], re.MULTILINE), (
                    name,
                    option,
                )


def test_every_reason_of_a_dead_letter_has_a_remedy() -> None:
    """A person who finds one at night finds it in docs/how-to/dead-letters.md."""
    text = (ROOT / "docs" / "how-to" / "dead-letters.md").read_text(encoding="utf-8")
    assert [reason for reason in telemetry.DEAD_REASONS if f"| `{reason}` |" not in text] == []


def test_every_state_of_a_lane_is_explained() -> None:
    """In docs/how-to/monitor.md."""
    text = (ROOT / "docs" / "how-to" / "monitor.md").read_text(encoding="utf-8")
    assert [state for state in telemetry.LANE_STATES if f"| `{state}` |" not in text] == []


@pytest.mark.parametrize("path", PAGES, ids=lambda path: str(path.relative_to(ROOT)))
def test_links_lead_somewhere(path: Path) -> None:
    """Every relative link of a page names a file that is there."""
    text = _FENCE.sub("", path.read_text(encoding="utf-8"))
    targets = [target.partition("#")[0] for target in _LINK.findall(text) if "://" not in target]
    broken = [target for target in targets if target and not (path.parent / target).exists()]
    assert not broken


@pytest.mark.parametrize("path", PAGES, ids=lambda path: str(path.relative_to(ROOT)))
def test_contracts_in_the_pages_pass_the_checks(path: Path, tmp_path: Path) -> None:
    """What a reader copies out of a page is a contract that `syncd check` takes."""
    for number, (language, text) in enumerate(_FENCE.findall(path.read_text(encoding="utf-8"))):
        if language == "yaml" and re.match(r"(#.*\n)*apiVersion: syncd/", text):
            file = tmp_path / f"{number}.yaml"
            file.write_text(text, encoding="utf-8")
            load_contract_set(file, {"SYNCD_SITE": "site"})


@pytest.mark.parametrize("path", PAGES, ids=lambda path: str(path.relative_to(ROOT)))
def test_pages_name_only_settings_that_exist(path: Path) -> None:
    """A variable with a slip of the pen would be ignored without an error."""
    known = {f"SYNCD_{name.upper()}" for name in Settings.model_fields} | {
        "SYNCD_TEST_MONGODS",
        "SYNCD_TEST_MONGOS_URI",
        "SYNCD_TEST_OPENSSL11",
        "SYNCD_TEST_PROMTOOL",
        "SYNCD_TEST_CHROMIUM",
        "SYNCD_TEST_AXE",
        "SYNCD_TEST_PICTURES",
        "SYNCD_TEST_REDIS70",
        "SYNCD_TEST_SCALE",
        "SYNCD_TEST_SEED",
        "SYNCD_X",
    }
    text = re.sub(r"\bSYNCD_VAR_[A-Z0-9_]*", "", path.read_text(encoding="utf-8"))  # those are for contracts
    named = re.findall(r"\bSYNCD_[A-Z0-9_]*[A-Z0-9]", text)
    assert {name.removesuffix("_FILE") for name in named} <= known
