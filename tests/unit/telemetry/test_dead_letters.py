"""What the log says of dead letters."""

from __future__ import annotations

import pytest
from structlog.testing import capture_logs

from syncd import telemetry
from syncd.telemetry.dead_letters import RepeatedWarnings, _Kind, field_of

CARD = _Kind("film", "card", "cannot_convert", "n")


def test_equal_dead_letters_are_reported_once_and_counted() -> None:
    """nothing_silent: the first at once, the rest of the interval together; another kind has a line of its own."""
    digest = RepeatedWarnings(3600)
    with capture_logs() as entries:
        for _ in range(5000):
            digest.add({CARD: (1, "field `n`: string is not an int")})
        digest.add({CARD._replace(field="year"): (2, "field `year`: string is not an int")})
        digest.flush()
    assert [(entry["field"], entry["count"]) for entry in entries] == [("n", 1), ("year", 2), ("n", 4999)]
    assert {entry["event"] for entry in entries} == {"dead letter"}


def test_an_interval_ends_by_itself() -> None:
    """The count is reported without another event."""
    digest = RepeatedWarnings(0.05)
    with capture_logs() as entries:
        digest.add({CARD: (1, "")})
        digest.add({CARD: (7, "")})
        timer = digest._timer
        assert timer is not None
        timer.join(5)
        digest.flush()
    assert [entry["count"] for entry in entries] == [1, 7]


@pytest.mark.parametrize(
    ("detail", "field"),
    [
        ("field `n`: string is not an int: no integer", "n"),
        ("field at: no date", "at"),
        ("field `a.b` of key template `x:{a.b}` is missing", "a.b"),
        ("16 bytes, MongoDB takes 15", ""),
        ("", ""),
    ],
)
def test_the_field_of_a_dead_letter(detail: str, field: str) -> None:
    """As the details of all directions name it."""
    assert field_of(detail) == field


@pytest.mark.parametrize("plain", [True, False])
def test_a_log_without_colors(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], plain: bool
) -> None:
    """NO_COLOR counts on stderr as well."""
    monkeypatch.setattr("sys.stderr.isatty", lambda: True, raising=False)
    monkeypatch.setenv("NO_COLOR", "1" if plain else "")
    telemetry.configure_logging("info", "console")
    try:
        telemetry.setting_unknown("SYNCD_X", "")
    finally:
        telemetry.configure_logging("info", "console")
    said = capsys.readouterr().err
    assert "SYNCD_X" in said
    assert ("\x1b[" in said) is not plain
