"""The verdicts of the benchmark, over figures made up for it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from xml.etree import ElementTree

import pytest

from benchmarks.measured.ways import WAYS
from benchmarks.options import parse
from benchmarks.plan import ROWS
from benchmarks.results.plot import svg
from benchmarks.results.publish import BEGIN, END, full, replaced, short
from benchmarks.results.targets import BACK_MS, OF_ALONE, Row, rows
from benchmarks.shapes import SHAPES

SYNCD = {
    "snapshot_per_s": 100_000.0,
    "backlog_per_s": 60_000.0,
    "inserts_per_s": 50_000.0,
    "sustained_behind_s": 0.2,
    "latency_p50_ms": 1.2,
    "latency_p99_ms": 4.0,
    "backlog_cpu_us": 11.0,
    "peak_rss_mb": 120.0,
}
TUNED = {"snapshot_per_s": 50_000.0, "backlog_per_s": 24_000.0, "inserts_per_s": 25_000.0}
GROWN = {
    "snapshot_per_s": 90_000.0,
    "snapshot_rss_mb": 100.0,
    "backlog_per_s": 50_000.0,
    "backlog_rss_mb": 110.0,
}
PLAIN = {"snapshot_per_s": 80_000.0, "backlog_per_s": 40_000.0}
PEER = {
    "snapshot_per_s": 30_000.0,
    "backlog_per_s": 20_000.0,
    "latency_p50_ms": 3.0,
    "latency_p99_ms": 6.0,
    "peak_rss_mb": 400.0,
}


def back(share: float, name: str) -> dict[str, dict[str, float]]:
    p50, p99 = BACK_MS.get(name, (0.0, 0.0))
    own = {"per_s": 100_000.0 * share, "latency_p50_ms": p50, "latency_p99_ms": p99}
    return {"alone": {"per_s": 100_000.0}, "syncd": own, "mq-bridge-back": {"per_s": 5_000.0}}


COMPARED = {
    "hashing_per_s": 400_000.0,
    "digest_per_s": 200_000.0,
    "digest_rss_mb": 150.0,
    "full_per_s": 40_000.0,
}


@pytest.fixture
def results() -> dict[str, Any]:
    """A run in which everything was measured and every target is met, if some only just."""
    return {
        "options": {"rows": list(ROWS), "documents": 100_000, "rounds": 3, "peers": ["x"], "peer_rounds": 1},
        "machine": {"cpu": "2 cores", "mongod": "6.0.5", "redis-server": "8.2.3", "date": "2026-01-02"},
        "medians": {
            "naive": {"latency_p50_ms": 1.0, "latency_p99_ms": 2.0},
            "tuned": TUNED,
            "limits": {"stream": 120_000.0},
            "syncd": SYNCD,
            "mq-bridge": PEER,
            "mq-bridge-16": {**PEER, "latency_p50_ms": 2.0},
            "debezium": PEER,
            "mongochangestream": PEER,
        },
        "parts": {
            "many": {
                "idle": {"idle_cores": 0.02, "idle_mongod_cores": 0.04, "idle_mongod_cores_without": 0.01},
                "hot": {"quiet_p99_ms": 3.0, "beside_hot_p99_ms": 6.0, "beside_writing_p99_ms": 5.0},
            },
            "variants": {shape.name: PLAIN for shape in SHAPES},
            "compared": {"checks": COMPARED},
            **{name: back(OF_ALONE[name], name) for name in WAYS},
            "growth": {"10000": GROWN, "100000": GROWN, "1000000": {**GROWN, "snapshot_rss_mb": 109.0}},
        },
        "left_out": {},
    }


def verdicts(results: dict[str, Any], name: str) -> list[str]:
    return [row.verdict for row in rows(results) if row.name == name]


def only(results: dict[str, Any], name: str) -> Row:
    (row,) = (row for row in rows(results) if row.name == name)
    return row


def test_checks(results: dict[str, Any]) -> None:
    """Both kinds have to be fast enough."""
    for name, slow in (("digest_per_s", 199_000.0), ("full_per_s", 39_000.0)):
        results["parts"]["compared"]["checks"] = COMPARED | {name: slow}
        assert verdicts(results, "compared") == ["FAIL"]


def test_all_met(results: dict[str, Any]) -> None:
    """A bound that is just reached is reached."""
    assert {row.verdict for row in rows(results)} == {"pass"}
    assert {row.name for row in rows(results)} == set(ROWS)


@pytest.mark.parametrize(
    ("name", "figure", "value"),
    [
        ("backlog", "backlog_per_s", 59_000.0),
        ("sustained", "sustained_behind_s", 0.51),
        ("inserts", "inserts_per_s", 49_000.0),
        ("snapshot", "snapshot_per_s", 99_000.0),
        ("latency", "latency_p50_ms", 1.31),
        ("latency", "latency_p99_ms", 4.1),
        ("memory", "peak_rss_mb", 151.0),
        ("cpu", "backlog_cpu_us", 12.1),
    ],
)
def test_one_figure_beyond_its_bound(results: dict[str, Any], name: str, figure: str, value: float) -> None:
    """Each figure of syncd decides its own row."""
    results["medians"]["syncd"] = {**SYNCD, figure: value}
    assert "FAIL" in verdicts(results, name)


@pytest.mark.parametrize("name", WAYS)
def test_a_way_back_that_is_too_slow(results: dict[str, Any], name: str) -> None:
    """Against what pymongo alone gets in, in the same run."""
    results["parts"][name]["syncd"]["per_s"] -= 1_000.0
    assert verdicts(results, name) == ["FAIL"]


def test_nothing_measured(results: dict[str, Any]) -> None:
    """What was not measured is neither passed nor failed."""
    results |= {"medians": {}, "parts": {}}
    assert {row.verdict for row in rows(results)} == {"-"}


def test_a_row_fails_though_a_part_of_it_was_not_measured(results: dict[str, Any]) -> None:
    """One missed bound is enough."""
    del results["medians"]["limits"]
    assert verdicts(results, "backlog") == ["-"]
    results["medians"]["syncd"] = {**SYNCD, "backlog_per_s": 30_000.0}
    assert verdicts(results, "backlog") == ["FAIL"]


def test_only_the_rows_asked_for(results: dict[str, Any]) -> None:
    """`--only` shortens the table."""
    results["options"]["rows"] = ["cpu", "idle"]
    assert [row.name for row in rows(results)] == ["cpu", "idle"]


def test_memory_at_ten_times_the_work(results: dict[str, Any]) -> None:
    """More than 10% above what a tenth of the documents took fails both rows that speak of it."""
    results["parts"]["growth"]["1000000"] = {**GROWN, "backlog_rss_mb": 122.0}
    assert verdicts(results, "memory") == ["FAIL"]
    assert verdicts(results, "growth") == ["FAIL"]


def test_time_that_is_not_linear(results: dict[str, Any]) -> None:
    """Half as much time again for each document of the last step is too much, a constant at every size is not."""
    growth = results["parts"]["growth"]
    for size, seconds in (("10000", 5.1), ("100000", 6.0), ("1000000", 15.0)):
        growth[size] = {**GROWN, "snapshot_per_s": int(size) / seconds}
    assert verdicts(results, "growth") == ["pass"]
    growth["1000000"] = {**GROWN, "snapshot_per_s": 1_000_000 / 19.6}
    assert verdicts(results, "growth") == ["FAIL"]
    assert verdicts(results, "memory") == ["pass"]


def test_the_best_setting_of_a_peer_counts(results: dict[str, Any]) -> None:
    """syncd is behind a peer that is quicker under one of its two settings."""
    results["medians"]["mq-bridge-16"] = {**PEER, "latency_p50_ms": 1.0}
    assert verdicts(results, "peers") == ["FAIL", "pass", "pass"]


def test_a_peer_that_was_left_out(results: dict[str, Any]) -> None:
    """Its row says why and gives no verdict."""
    del results["medians"]["debezium"]
    results["left_out"] = {"debezium": "Mismatch: 2 of 9 documents wrong\nmore"}
    row = [row for row in rows(results) if row.name == "peers"][1]
    assert row.verdict == "-"
    assert row.measured == "left out: Mismatch: 2 of 9 documents wrong"


def test_a_shape_that_failed(results: dict[str, Any]) -> None:
    """A contract whose keys were wrong has no figures, and so no pass."""
    del results["parts"]["variants"]["json"]
    assert verdicts(results, "variants") == ["-", "pass", "pass", "pass", "pass", "pass", "pass"]


def test_the_hot_row_shows_what_the_writing_alone_does(results: dict[str, Any]) -> None:
    """The verdict is against the same writing without its contract; the reader also sees what it is with no writing."""
    assert "ms with nothing written" in only(results, "hot").measured


def test_the_picture_is_xml(results: dict[str, Any]) -> None:
    """Also when there is nothing in it."""
    assert ElementTree.fromstring(svg(results)).tag.endswith("svg")
    ElementTree.fromstring(svg({**results, "medians": {}, "parts": {}}))


@pytest.mark.parametrize("section", [short, full])
def test_a_page_keeps_what_is_outside_the_marks(
    results: dict[str, Any], section: Callable[[dict[str, Any]], str]
) -> None:
    """Only what stands between the two comments is replaced, as often as one likes."""
    text = f"before\n{BEGIN}\nold\n{END}\nafter\n"
    new = replaced(text, section(results))
    assert new.startswith(f"before\n{BEGIN}\n")
    assert new.endswith(f"\n{END}\nafter\n")
    assert "old" not in new
    assert replaced(new, section(results)) == new
    with pytest.raises(ValueError, match="lacks the marks"):
        replaced("nothing", "x")


def test_the_readme_shows_five_rows(results: dict[str, Any]) -> None:
    """All rows, and what was missed, are in docs/performance.md."""
    rows = [line for line in short(results).splitlines() if line.startswith("| ")]
    assert len(rows) == 5 + 2, rows  # two lines of titles
    assert set(rows) < set(full(results).splitlines())


def test_rows_bring_what_they_need() -> None:
    """A row alone measures only its own systems, phases and parts."""
    options = parse(["--only", "cpu,idle"])
    assert options.systems == ("syncd",)
    assert options.phases == ("backlog",)
    assert options.parts == ("idle",)
    assert options.peers == ()
    assert parse(["--only", "peers", "--no-peers"]).peers == ()
    with pytest.raises(SystemExit, match="2"):
        parse(["--only", "speed"])
