"""What the command line makes of errors."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from syncd.cli import VERBS, app, exit_code, main
from syncd.errors import (
    CapabilityError,
    ContractError,
    FatalError,
    FencedError,
    PlatformError,
    Problem,
    SettingsError,
    SyncdError,
    TransientError,
)
from syncd.settings import Settings


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (ContractError([Problem("a.yaml", 1, 1, "what", "remedy")]), 1),
        (CapabilityError("mongo", "too old"), 1),
        (PlatformError("no server"), 1),
        (SettingsError("SYNCD_HTTP"), 2),
        (TransientError("mongo", "no answer"), 3),
        (FencedError("redis", "another daemon"), 3),
        (FatalError("redis", "wrong password"), 3),
    ],
)
def test_an_error_has_the_exit_code_of_its_sort(error: SyncdError, code: int) -> None:
    """1 a failed check, 2 wrong usage, 3 cannot connect."""
    assert exit_code(error) == code


def test_an_error_is_told_on_stderr(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Without a traceback."""

    def fail(**_: object) -> None:
        raise SettingsError("SYNCD_HTTP: not host:port")

    monkeypatch.setattr("syncd.cli.app", fail)
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 2
    assert capsys.readouterr() == ("", "syncd: SYNCD_HTTP: not host:port\n")


def test_every_verb_tells_what_it_does() -> None:
    """In the first line of its docstring, which is its help."""
    assert [verb.__name__ for verb in VERBS if not verb.__doc__] == []


def test_a_verb_is_made_alone(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """All verbs take as long as the rest of a start; a help text is that of all."""
    monkeypatch.setattr("syncd.cli.app", None)
    monkeypatch.setattr(sys, "argv", ["syncd", "schema", "--help"])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 0
    assert "Usage: syncd schema" in capsys.readouterr().out


def test_help_is_not_cut_off(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of the whole and of each verb, on a terminal of eighty columns."""
    runner = CliRunner(env={"COLUMNS": "80", "TERMINAL_WIDTH": "80"})
    for words in ([], ["deadletters"], ["deadletters", "list"], *([verb.__name__] for verb in VERBS)):
        shown = runner.invoke(app, [*words, "--help"])
        assert shown.exit_code == 0, shown.output
        lines = shown.output.splitlines()[1:]
        assert not [line for line in lines if len(line) > 80 or line.endswith("...")], words


def test_settings_hide_secrets(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Each setting has its value in effect and its source; passwords, tokens and options of addresses are not shown."""
    (tmp_path / "token").write_text("very-secret")
    monkeypatch.setenv("SYNCD_TOKEN_FILE", str(tmp_path / "token"))
    monkeypatch.setenv("SYNCD_REDIS_URL", "rediss://me:very-secret@cache:6380/1?password=very-secret")
    shown = CliRunner().invoke(app, ["settings", "-o", "json"])
    rows = {row["setting"]: (row["value"], row["source"]) for row in json.loads(shown.output)}
    assert "very-secret" not in shown.output
    assert rows["SYNCD_REDIS_URL"] == ("rediss://***@cache:6380/1?********", "environment")
    assert rows["SYNCD_TOKEN"] == ("********", f"file {tmp_path / 'token'}")
    assert rows["SYNCD_LEASE_TTL"] == ("10.0", "default")
    assert rows.keys() == {f"SYNCD_{name.upper()}" for name in Settings.model_fields}


def test_a_shell_completes_names_of_contracts(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    """Of the directory, whatever else is wrong with their files and without a Redis."""
    (tmp_path / "a.yaml").write_text("metadata: {owner: shop, name: users}\nredis: [")
    (tmp_path / "b.yaml").write_text(
        'kind: SyncContract\nmetadata:\n  name: "orders"\nfields: {name: name}\n'
    )
    said = {
        "SYNCD_CONTRACTS": str(tmp_path), "SYNCD_REDIS_URL": "redis://127.0.0.1:1", "COMP_CWORD": "2",
        "_SYNCD_COMPLETE": "complete_bash", "COMP_WORDS": "syncd pause ",
    }  # fmt: skip
    for name, value in said.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(sys, "argv", ["syncd"])
    with pytest.raises(SystemExit):
        main()
    assert capsys.readouterr().out.split() == ["orders", "users"]
    assert (
        "_SYNCD_COMPLETE"
        in CliRunner().invoke(app, ["completion", "bash"], env={"_SYNCD_COMPLETE": None}).output
    )
