"""`syncd test`: the tests of contracts, as teams run them in CI."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as Xml

import pytest
from pymongo import MongoClient

from tests.support.cli import ROOT, syncd
from tests.support.contracts import projection, said

HERE = Path(__file__).parent
DIRECTORIES = [
    "contracts",
    *(f"examples/{path.parent.name}/contracts" for path in ROOT.glob("examples/*/run.py")),
]
CARD = projection({"title": "title", "year": {"from": "year", "type": "int"}}, key="film:{_id}")


def write(directory: Path, *tests: dict[str, Any], **more: Any) -> None:
    (directory / "films.yaml").write_text(json.dumps(said(CARD, name="films", tests=list(tests), **more)))


def test_each_part_of_the_format_has_a_test_that_passes() -> None:
    """Types, masks, expressions, times to live, filters, shapes, keys and entries, both ways, many collections: nothing
    is skipped, for MongoDB comes with the demo."""
    ran = syncd("test", "--contracts", "tested_contracts", "-o", "json", cwd=HERE)
    report = json.loads(ran.stdout)
    assert [one for one in report["tests"] if one["status"] != "passed"] == []
    names = {path.name.partition(".")[0] for path in (HERE / "tested_contracts").iterdir()}
    assert {one["contract"] for one in report["tests"]} == names
    assert (report["ok"], ran.returncode) == (True, 0)


@pytest.mark.parametrize("directory", DIRECTORIES)
def test_the_contracts_of_this_repository_do_what_their_tests_say(directory: str) -> None:
    """Each has a test."""
    ran = syncd("test", "--contracts", directory, "-o", "json", SYNCD_SITE="hill", SYNCD_HMAC_KEY="any")
    report = json.loads(ran.stdout)
    assert [one for one in report["tests"] if one["status"] != "passed"] == []
    tested = {one["contract"] for one in report["tests"]}
    assert len(tested) == len([path for path in (ROOT / directory).iterdir() if ".test." not in path.name])


FAILED = """\
FAILED films: a film has a card
  failing_contracts/films.yaml:16:18: film:1, title
    - Solyaris
    + Solaris
  failing_contracts/films.yaml:16:47: film:1, cast
    - none
  failing_contracts/films.yaml:16:7: film:1, note
    + x
  failing_contracts/films.yaml:17:7: film:2
    - {"title": "Stalker"}
  failing_contracts/films.yaml:18:21: tags:1, an element
    - c
  failing_contracts/films.yaml:18:7: tags:1, an element
    + b
  failing_contracts/films.yaml:19:11: ttl of film:1
    - 7d
    + 30d
  (- is what the test expects, + is what came of it)
PASSED films: a film that is fine
FAILED films: a dead letter that is not expected
  failing_contracts/films.yaml:23:5: a dead letter of projection card
    + cannot_convert: field `year`: string is not an int: no integer
  (- is what the test expects, + is what came of it)
1 passed, 2 failed
"""


def test_a_failure_is_a_diff_with_its_places(tmp_path: Path) -> None:
    """On the terminal and in JUnit's XML; the exit code is 1. `-k` chooses tests, and fails where there is none."""
    junit = tmp_path / "report.xml"
    ran = syncd("test", "--contracts", "failing_contracts", "--junit", junit, cwd=HERE)
    assert (ran.stdout, ran.returncode) == (FAILED, 1)
    (suite,) = Xml.fromstring(junit.read_text())
    assert (suite.get("tests"), suite.get("failures"), suite.get("skipped")) == ("3", "2", "0")
    failures = [failure.text or "" for failure in suite.iter("failure")]
    assert "films.yaml:16:18: film:1, title\n    - Solyaris\n    + Solaris" in failures[0]
    assert syncd("test", "--contracts", "failing_contracts", "-k", "fine", cwd=HERE).returncode == 0
    none = syncd("test", "--contracts", "failing_contracts", "-k", "no such", cwd=HERE)
    assert (none.returncode, "no test was found" in none.stdout) == (1, True)


def test_a_filter_is_asked_of_the_mongodb_of_the_settings(
    tmp_path: Path, mongo_uri: str, mongo: MongoClient[dict[str, Any]]
) -> None:
    """With --connect; it holds nothing of it afterwards. One that does not answer ends with 3."""
    test = {"name": "a", "given": {"_id": 1, "title": "Solaris"}, "expect": {"film:1": {"title": "Solaris"}}}
    filtered = {"name": "b", "given": {"_id": 1, "title": "Stalker"}, "filtered": True, "expect": {}}
    wrong = {**filtered, "name": "c", "given": {"_id": 1, "title": "Solaris"}}
    mongo_part = {"collection": "shop.films", "filter": {"title": {"$regex": "^So"}}}
    write(tmp_path, test, filtered, wrong, mongo=mongo_part)
    before = set(mongo.list_database_names())
    ran = syncd("test", "--contracts", tmp_path, "--connect", "-o", "json", SYNCD_MONGO_URI=mongo_uri)
    assert [one["status"] for one in json.loads(ran.stdout)["tests"]] == ["passed", "passed", "failed"]
    assert set(mongo.list_database_names()) <= before
    nowhere = "mongodb://127.0.0.1:1/?serverSelectionTimeoutMS=100"
    assert syncd("test", "--contracts", tmp_path, "--connect", SYNCD_MONGO_URI=nowhere).returncode == 3


def test_a_sample_says_which_real_documents_would_fail(
    tmp_path: Path, database: str, mongo_uri: str, mongo: MongoClient[dict[str, Any]]
) -> None:
    """By reason and field, counted, without a value; the exit code is 1. Nothing is written."""
    write(tmp_path, mongo={"collection": f"{database}.films"})
    years: list[Any] = [1972, 1979, "soon", "later", None]
    mongo[database].films.insert_many(
        [{"_id": at, "title": "x", "year": year} for at, year in enumerate(years)]
    )
    ran = syncd("test", "--contracts", tmp_path, "--sample", "100", "-o", "json", SYNCD_MONGO_URI=mongo_uri)
    (sample,) = json.loads(ran.stdout)["sample"]
    dead = Counter({(one["reason"], one["detail"]): one["count"] for one in sample["dead_letters"]})
    assert (sample["sampled"], ran.returncode) == (5, 1)
    assert dead == {("cannot_convert", "field `year`: string is not an int: no integer"): 2}
    assert "soon" not in ran.stdout
    assert mongo[database].list_collection_names() == ["films"]


def test_a_sample_is_of_each_collection_of_several(
    tmp_path: Path, database: str, mongo_uri: str, mongo: MongoClient[dict[str, Any]]
) -> None:
    """Each is counted under its own name."""
    shape = projection({"title": "title"}, key="{$collection}:{_id}")
    more = said(shape, name="films", mongo={"collection": f"{database}.film*"})
    (tmp_path / "films.yaml").write_text(json.dumps(more))
    for name in ("films", "filmstock"):
        mongo[database][name].insert_one({"_id": 1, "title": "x"})
    ran = syncd("test", "--contracts", tmp_path, "--sample", "5", "-o", "json", SYNCD_MONGO_URI=mongo_uri)
    found = [(one["contract"], one["sampled"]) for one in json.loads(ran.stdout)["sample"]]
    assert found == [(f"films@{database}.films", 1), (f"films@{database}.filmstock", 1)]
    assert ran.returncode == 0


def test_a_mistake_in_a_test_has_its_place(tmp_path: Path) -> None:
    """`syncd check` finds it as `syncd test` does, in the contract or in a file beside it."""
    write(tmp_path)
    (tmp_path / "films.test.yaml").write_text(
        "\n".join(
            [
                "apiVersion: syncd/v1",
                "kind: SyncContractTests",
                "contract: films",
                "tests:",
                "  - {name: a, given: {_id: 1}, expects: {}}",
            ]
        )
    )
    for verb in ("check", "test"):
        ran = syncd(verb, "--contracts", ".", cwd=tmp_path)
        assert ran.stdout.startswith("films.test.yaml:5:32: unknown key `expects`; did you mean `expect`?")
        assert ran.returncode == 1
