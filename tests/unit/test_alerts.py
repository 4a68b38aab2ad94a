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


def only(folder: Path, alert: str) -> Path:
    """The rules without those of other alerts, which take promtool six times as long."""
    rules = yaml.safe_load(RULES.read_text(encoding="utf-8"))
    for group in rules["groups"]:
        group["rules"] = [rule for rule in group["rules"] if rule.get("alert", alert) == alert]
    path = folder / "rules.yaml"
    path.write_text(yaml.safe_dump(rules), encoding="utf-8")
    return path


def fires(tool: Path, folder: Path, alert: str, series: dict[str, str]) -> bool:
    """Whether an alert fires at the end; promtool compares labels and annotations as well, so it is asked for none."""
    cases: dict[str, Any] = {
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
    case = folder / "case.yaml"
    case.write_text(yaml.safe_dump(cases), encoding="utf-8")
    done = subprocess.run(
        [tool, "test", "rules", case], capture_output=True, text=True, check=False, timeout=60
    )
    said = done.stdout + done.stderr
    assert done.returncode == 0 or alert in said, said
    return done.returncode != 0


def test_promtool_takes_the_rules(tool: Path) -> None:
    """Prometheus would refuse to start with a rule that it cannot read."""
    done = subprocess.run(
        [tool, "check", "rules", RULES], capture_output=True, text=True, check=False, timeout=60
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    ("alert", "series"),
    [
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
    ],
)
def test_an_alert_that_must_fire(tool: Path, tmp_path: Path, alert: str, series: dict[str, str]) -> None:
    """nothing_silent: also for a lane that is live in one scrape of three."""
    assert fires(tool, tmp_path, alert, series)


@pytest.mark.parametrize(
    ("alert", "series"),
    [
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
    ],
)
def test_an_alert_that_must_not(tool: Path, tmp_path: Path, alert: str, series: dict[str, str]) -> None:
    """A copy of hours, one restart, and a figure that is not known wake no one up."""
    assert not fires(tool, tmp_path, alert, series)
