"""The alerts of deploy/prometheus fire where they should, by Prometheus's own test of rules."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from syncd.telemetry import LANE_STATES
from tests.support.programs import promtool
from tests.support.programs.needed import NotFound, give_up

RULES = Path(__file__).parents[2] / "deploy" / "prometheus" / "rules.yaml"
MINUTES = 40
SCRAPES = 2 * MINUTES
"""One each half minute."""


@pytest.fixture(scope="module")
def tool() -> Path:
    try:
        return promtool.find()
    except NotFound as error:
        give_up(error)


def states(*turn: str) -> dict[str, str]:
    """The series of a lane that is in these states, one a scrape, in turn."""
    in_turn = [turn[at % len(turn)] for at in range(SCRAPES)]
    labels = 'contract="film", instance="a"'
    return {
        f'syncd_lane_state{{{labels}, state="{state}"}}': " ".join(str(int(now == state)) for now in in_turn)
        for state in LANE_STATES
    }


def restarts(every: int) -> dict[str, str]:
    """A lane that starts again each so many scrapes; 0: never."""
    counts = " ".join(str(at // every if every else 0) for at in range(SCRAPES))
    return {'syncd_lane_restarts_total{contract="film", instance="a", why="fenced"}': counts}


def gauge(name: str, value: str) -> dict[str, str]:
    return {f'{name}{{contract="film", instance="a"}}': " ".join([value] * SCRAPES)}


PAUSED = states("paused") | restarts(0) | gauge("syncd_lease_held", "0") | gauge("syncd_paused", "1")
CALM = states("live") | restarts(0) | gauge("syncd_lag_seconds", "0.2") | gauge("syncd_lease_held", "1")

Case = tuple[str, dict[str, str]]
FIRE: list[Case] = [
    ("SyncdLaneUnsteady", CALM | states("live", "waiting", "catching_up") | restarts(3)),
    ("SyncdLaneUnsteady", CALM | states("waiting", "live") | restarts(2)),
    ("SyncdLaneUnsteady", CALM | states("catching_up", "catching_up", "live") | restarts(6)),
    ("SyncdLaneRestarts", CALM | restarts(3)),
    ("SyncdContractStands", CALM | states("waiting")),
    ("SyncdContractStands", CALM | states("standby")),
    ("SyncdPaused", PAUSED),
    (
        "SyncdPositionNearsOplogEnd",
        PAUSED | gauge("syncd_position_age_seconds", "900") | gauge("syncd_oplog_window_seconds", "1000"),
    ),
    ("SyncdAgeUnknown", CALM | gauge("syncd_lag_seconds", "NaN")),
    ("SyncdStale", CALM | gauge("syncd_lag_seconds", "9") | gauge("syncd_slo_freshness_seconds", "5")),
    ("SyncdDeadLetters", CALM | gauge("syncd_dead_letters_waiting", "12")),
]
FIRE_NOT: list[Case] = [
    ("SyncdLaneUnsteady", CALM),
    ("SyncdLaneUnsteady", CALM | states("snapshot")),
    ("SyncdLaneUnsteady", CALM | states("catching_up")),
    ("SyncdLaneUnsteady", CALM | states(*["live"] * 19, "waiting") | restarts(20)),
    ("SyncdLaneRestarts", CALM | restarts(20)),
    ("SyncdPaused", CALM | gauge("syncd_paused", "0")),
    ("SyncdContractStands", PAUSED),
    ("SyncdAgeUnknown", CALM),
    ("SyncdStale", CALM | gauge("syncd_lag_seconds", "NaN") | gauge("syncd_slo_freshness_seconds", "5")),
    ("SyncdDeadLetters", CALM | gauge("syncd_dead_letters_waiting", "NaN")),
]
"""Alerts, and the series that they see."""


def only(folder: Path, alert: str) -> Path:
    """The rules without those of other alerts, which take promtool six times as long."""
    rules = yaml.safe_load(RULES.read_text(encoding="utf-8"))
    for group in rules["groups"]:
        group["rules"] = [rule for rule in group["rules"] if rule.get("alert", alert) == alert]
    path = folder / "rules.yaml"
    path.write_text(yaml.safe_dump(rules), encoding="utf-8")
    return path


def case(folder: Path, alert: str, series: dict[str, str]) -> Path:
    """That no alert fires at the end: promtool compares labels and annotations as well, so it is asked for none."""
    folder.mkdir()
    said: dict[str, Any] = {
        "rule_files": [str(only(folder, alert))],
        "evaluation_interval": "30s",
        "tests": [
            {
                "interval": "30s",
                "input_series": [{"series": name, "values": values} for name, values in series.items()],
                "alert_rule_test": [{"eval_time": f"{MINUTES - 1}m", "alertname": alert, "exp_alerts": []}],
            }
        ],
    }
    path = folder / "case.yaml"
    path.write_text(yaml.safe_dump(said), encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def fired(tool: Path, tmp_path_factory: pytest.TempPathFactory) -> list[bool]:
    """Whether the alert of each case fires; all in one run of promtool."""
    root = tmp_path_factory.mktemp("alerts")
    files = [case(root / str(number), *one) for number, one in enumerate(FIRE + FIRE_NOT)]
    done = subprocess.run(
        [tool, "test", "rules", *files], capture_output=True, text=True, check=False, timeout=60
    )
    said = done.stdout.split("Unit Testing: ")[1:]
    found = ["SUCCESS" not in one for one in said]
    assert len(found) == len(files), done.stdout + done.stderr
    named = [alert for is_fired, (alert, _) in zip(found, FIRE + FIRE_NOT, strict=True) if is_fired]
    for alert, why in zip(named, done.stderr.split("FAILED:")[1:], strict=True):
        assert f"alertname: {alert}" in why, why
    return found


def test_promtool_takes_the_rules(tool: Path) -> None:
    """Prometheus would refuse to start with a rule that it cannot read."""
    done = subprocess.run(
        [tool, "check", "rules", RULES], capture_output=True, text=True, check=False, timeout=60
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("number", range(len(FIRE)), ids=lambda number: f"{FIRE[number][0]}-{number}")
def test_an_alert_that_must_fire(fired: list[bool], number: int) -> None:
    """nothing_silent: also for a lane that is live in one scrape of three."""
    assert fired[number]


@pytest.mark.parametrize("number", range(len(FIRE_NOT)), ids=lambda number: f"{FIRE_NOT[number][0]}-{number}")
def test_an_alert_that_must_not(fired: list[bool], number: int) -> None:
    """A copy of hours, one restart, and a figure that is not known wake no one up."""
    assert not fired[len(FIRE) + number]
