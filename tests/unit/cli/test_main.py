"""What the command line makes of errors."""

from __future__ import annotations

import sys

import pytest

from syncd.cli import VERBS, exit_code, main
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
