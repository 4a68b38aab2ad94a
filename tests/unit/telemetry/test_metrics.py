"""Every series of a contract is there from its start, and none after its end."""

from __future__ import annotations

import ast
import math
from collections.abc import Iterator
from pathlib import Path

import pytest
from prometheus_client.metrics import MetricWrapperBase

from syncd import telemetry
from syncd.telemetry import metrics
from syncd.telemetry.metrics import WRITE_RESULTS, labels_of, of_a_contract
from syncd.to_redis.apply.pipeline import RESULTS

NAME = "films"
SYNCD = Path(metrics.__file__).parents[1]
STORES = ("redis", "mongo", "both")
BEGIN_LATER = {"syncd_index_failures", "syncd_index_taken", "syncd_field_misfits", "syncd_refresh_pending"}
"""With an index, a join, or a value that does not fit: the names are not known before."""
NOT_OF = {
    "redis": {
        "syncd_outbox_entries", "syncd_outbox_bytes", "syncd_outbox_trimmed", "syncd_keys_unfit",
        "syncd_redis_went_back", "syncd_keyspace_catchups", "syncd_append_uncertain", "syncd_marked_keys",
        "syncd_conflicts",
    },
    "mongo": {
        "syncd_keys_removed", "syncd_foreign_keys", "syncd_marked_keys", "syncd_conflicts", "syncd_feed_gaps",
        "syncd_feed_entries_shifted", "syncd_board_members_filled", "syncd_members_expired",
    },
    "both": {"syncd_feed_gaps", "syncd_feed_entries_shifted", "syncd_board_members_filled", "syncd_members_expired"},
}  # fmt: skip
"""What a contract of this direction never does."""


@pytest.fixture
def known(request: pytest.FixtureRequest) -> Iterator[str]:
    """A contract that writes to a store, and which store."""
    telemetry.contract_known(NAME, 1.0, store=request.param)
    yield request.param
    telemetry.contract_gone(NAME)


def series(metric: MetricWrapperBase) -> dict[tuple[str, ...], float]:
    """Those of the contract, by their other labels."""
    (family,) = metric.collect()
    others = [label for label in labels_of(metric) if label != "contract"]
    return {
        tuple(sample.labels[label] for label in others): sample.value
        for sample in family.samples
        if sample.labels.get("contract") == NAME
    }


def families() -> dict[str, MetricWrapperBase]:
    return {next(iter(metric.collect())).name: metric for metric in of_a_contract()}


@pytest.mark.parametrize("known", STORES, indirect=True)
def test_every_series_is_there_from_the_start(known: str) -> None:
    """An alert on what a contract may do sees a rise from 0, the first time too: drift and checks included."""
    without = {name for name, metric in families().items() if not series(metric)}
    assert without == BEGIN_LATER | NOT_OF[known]


@pytest.mark.parametrize("known", STORES, indirect=True)
def test_they_begin_at_0_or_unknown(known: str) -> None:
    """But for what is so: its partitions, its promise, the state it starts in."""
    true = {"syncd_partitions", "syncd_slo_freshness_seconds", "syncd_lane_state"}
    for name in families().keys() - true:
        assert all(value == 0 or math.isnan(value) for value in series(families()[name]).values()), name


def test_none_is_left_of_a_contract_that_went() -> None:
    """Of no metric, also not of those that began later."""
    telemetry.contract_known(NAME, 1.0, store="both")
    for metric in of_a_contract():
        metric.labels(NAME, *["x"] * (len(labels_of(metric)) - 1))
    telemetry.contract_gone(NAME)
    assert not [name for name, metric in families().items() if series(metric)]


def said() -> Iterator[tuple[str, tuple[str, ...]]]:
    """Each `METRIC.labels(contract, "word", ...)` of the code whose words stand there."""
    for file in sorted(SYNCD.rglob("*.py")):
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            match node:
                case ast.Call(func=ast.Attribute(value=metric, attr="labels"), args=[_, first, *rest]):
                    words = [one.value for one in (first, *rest) if isinstance(one, ast.Constant)]
                    name = metric.id if isinstance(metric, ast.Name) else getattr(metric, "attr", "")
                    if len(words) == 1 + len(rest):
                        yield name, tuple(map(str, words))


@pytest.mark.parametrize("known", ["both"], indirect=True)
def test_every_word_of_a_label_has_a_series(known: str) -> None:
    """What the code counts under a word begins at 0 under it."""
    found = list(said())
    assert len(found) > 10
    missing = [(name, words) for name, words in found if words not in series(getattr(metrics, name))]
    assert not missing
    assert set(RESULTS.values()) <= set(WRITE_RESULTS["redis"])
