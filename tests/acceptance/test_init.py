"""`syncd init` against a real MongoDB."""

from __future__ import annotations

import datetime
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pymongo import MongoClient

from syncd.contract.read.load import load_contract_set
from tests.support.cli import syncd

SECRET = "Metropolis"


@pytest.fixture
def films(mongo: MongoClient[dict[str, Any]], database: str) -> Iterator[str]:
    """A collection of 50 films; the name of it with its database."""
    mongo[database]["silent.films"].insert_many(
        {
            "_id": number,
            "title": SECRET,
            "release": {"year": 1900 + number, "at": datetime.datetime(1927, 1, 10)},
            "genres": ["drama", SECRET],
            "score": 7.5 if number % 2 else None,
            "embedding": [0.25] * 32,
        }
        for number in range(50)
    )
    yield f"{database}.silent.films"


def test_a_draft_passes_the_check(mongo_uri: str, films: str, tmp_path: Path) -> None:
    """It names what was seen, and how often; never a value."""
    ran = syncd("init", films, SYNCD_MONGO_URI=mongo_uri)
    assert (ran.returncode, ran.stderr) == (0, "")
    file = tmp_path / "films.yaml"
    file.write_text(ran.stdout)
    assert syncd("check", file).returncode == 0
    assert (
        syncd("test", "--contracts", file).stdout == "PASSED silent-films: a document has a key\n1 passed\n"
    )
    (loaded,) = load_contract_set(file, {}).contracts
    assert loaded.contract.mongo.collection == films
    assert loaded.contract.name == "silent-films"
    assert list(loaded.contract.redis[0].fields or {}) == ["title", "release_year", "release_at", "score"]
    for line in (
        "title: title   # string 100%",
        "score: score   # double 50%, null 50%",
        "# genres: {from: genres, type: json}   # array of string 100%",
        "# embedding: {from: embedding, type: vector, dims: 32}   # array of double 100%",
        "#       - {name: embedding, type: vector, attrs: {dims: 32, algorithm: hnsw, distance_metric: cosine}}",
    ):
        assert line in [one.strip() for one in ran.stdout.splitlines()]
    assert SECRET not in ran.stdout


def test_name_and_sample_size_may_be_chosen(mongo_uri: str, films: str) -> None:
    """And the answer may be JSON."""
    ran = syncd("init", films, "--name", "old", "--sample", "5", "-o", "json", SYNCD_MONGO_URI=mongo_uri)
    answer = json.loads(ran.stdout)
    assert "# A draft from 5 sampled documents." in answer.pop("contract")
    assert answer == {"name": "old", "collection": films, "documents": 5, "file": None}


def test_a_file_is_written_once(mongo_uri: str, films: str, tmp_path: Path) -> None:
    """In a directory that it makes. A second run overwrites nothing, and says so before it reads MongoDB."""
    file = tmp_path / "contracts" / "films.yaml"
    first = syncd("init", films, "--out", file, SYNCD_MONGO_URI=mongo_uri)
    assert (first.returncode, first.stdout) == (0, "")
    assert f"wrote {file}" in first.stderr
    file.write_text(file.read_text() + "# edited\n")
    second = syncd("init", films, "--out", file, SYNCD_MONGO_URI="mongodb://127.0.0.1:1")
    assert second.returncode == 2
    assert f"{file} exists" in second.stderr
    assert file.read_text().endswith("# edited\n")


def test_the_uri_may_come_from_a_file(mongo_uri: str, films: str, tmp_path: Path) -> None:
    """As every setting may."""
    secret = tmp_path / "uri"
    secret.write_text(f"{mongo_uri}\n")
    assert syncd("init", films, SYNCD_MONGO_URI_FILE=str(secret)).returncode == 0


def test_a_collection_without_documents_cannot_be_drafted(mongo_uri: str, database: str) -> None:
    """A wrong name looks just like it."""
    ran = syncd("init", f"{database}.nothing", SYNCD_MONGO_URI=mongo_uri)
    assert (ran.returncode, ran.stdout) == (1, "")
    assert ran.stderr == f"no documents in {database}.nothing; check the name, or insert some first\n"


@pytest.mark.parametrize(
    ("uri", "code"),
    [("mongodb://someone:hush@127.0.0.1:1/", 3), ("mongodb://someone:hu@sh@127.0.0.1:1", 2)],
)
def test_a_mongodb_that_does_not_answer_ends_with_3(uri: str, code: int) -> None:
    """And a URI that cannot be used with 2. User and password stay out of the message."""
    ran = syncd("init", "catalog.movies", SYNCD_MONGO_URI=uri)
    assert (ran.returncode, ran.stdout) == (code, "")
    assert ran.stderr.startswith("syncd: ")
    for secret in ("someone", "hush", "hu@sh", "Traceback"):
        assert secret not in ran.stderr
