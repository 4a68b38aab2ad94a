"""`syncd doctor` as a person who operates it runs it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from syncd.embedded import RedisServer
from tests.support.cli import syncd
from tests.support.contracts import ContractDirectory, projection

KEYSPACE = {"direction": "redis_to_mongo", "capture": "keyspace"}


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    contracts = ContractDirectory(tmp_path / "contracts", "doctor")
    contracts.write("state", projection({"a": "a"}), sync=KEYSPACE)
    return contracts.path


def test_a_promise_that_cannot_be_kept(directory: Path, mongo_uri: str) -> None:
    """It names the promise and the contract, says what to do, and ends with 1; with 0 once that is done. A check of the
    contracts says the same, and is content."""
    with RedisServer() as server:
        env = {"SYNCD_MONGO_URI": mongo_uri, "SYNCD_REDIS_URL": server.url}
        found = syncd("doctor", directory, "-o", "json", **env)
        report = json.loads(found.stdout)
        assert (found.returncode, report["ok"]) == (1, False)
        (finding,) = report["findings"]
        assert finding["level"] == "promise"
        assert finding["promises"] == ["nothing_lost"]
        assert finding["contracts"] == ["doctor-state"]
        assert finding["remedy"] == "set appendonly yes"
        checked = syncd("check", "--connect", directory, **env)
        assert checked.returncode == 0
        assert "promise (nothing_lost; doctor-state): this Redis keeps nothing on disk" in checked.stderr
    with RedisServer(appendonly=True) as server:
        said = syncd("doctor", directory, SYNCD_MONGO_URI=mongo_uri, SYNCD_REDIS_URL=server.url)
        assert (said.returncode, said.stdout.splitlines()[-1]) == (0, "every promise can be kept")


def test_nobody_there(directory: Path, mongo_uri: str) -> None:
    """Exit code 3 where a server cannot be reached."""
    said = syncd("doctor", directory, SYNCD_MONGO_URI=mongo_uri, SYNCD_REDIS_URL="redis://127.0.0.1:1/0")
    assert said.returncode == 3
    assert "no connection to Redis" in said.stderr
