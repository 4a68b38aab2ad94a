"""`syncd doctor` as a person who operates it runs it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from pymongo import MongoClient
from redis import Redis

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


def test_no_server_there(directory: Path, mongo_uri: str) -> None:
    """Exit code 3 where a server cannot be reached."""
    said = syncd("doctor", directory, SYNCD_MONGO_URI=mongo_uri, SYNCD_REDIS_URL="redis://127.0.0.1:1/0")
    assert said.returncode == 3
    assert "no connection to Redis" in said.stderr


def test_paths_that_no_document_has(
    tmp_path: Path, token: str, mongo: MongoClient[dict[str, Any]], mongo_uri: str, redis_url: str
) -> None:
    """Whatever a projection takes of documents is looked for: what members and elements are made of as well. The name
    of the collection is no path."""
    contracts, films = ContractDirectory(tmp_path / "contracts", token), mongo[token]["films"]
    films.insert_one({"_id": 1, "title": "a"})
    member = {"key": "all", "member": "{_id}"}
    contracts.write(
        "films",
        projection(name="board", type="zset", score="no.points", **member),
        projection(name="near", type="geo", position="no.at", **member),
        projection(
            name="alike",
            type="vectorset",
            vector={"from": "no.v", "dims": 3},
            attributes={"k": "no.k"},
            **member,
        ),
        projection(name="tags", type="set", **member | {"key": "{no.tags[]}"}),
        projection(["title"], name="parts", each="no.parts", key="{_id}:{no.parts.#}"),
        projection({"of": "$collection", "title": "title"}, name="named"),
    )
    env = {"SYNCD_MONGO_URI": mongo_uri, "SYNCD_REDIS_URL": redis_url}
    found = syncd("doctor", contracts.path, "-o", "json", **env)
    said = [one for one in json.loads(found.stdout)["findings"] if one["level"] == "data"]
    begins = f"none of 1 documents of {films.full_name} has "
    assert sorted(one["what"].removeprefix(begins) for one in said) == [
        f"`no.{name}`" for name in ("at", "k", "parts", "points", "tags", "v")
    ]


def test_what_is_there_is_not_what_the_contract_is_about(
    tmp_path: Path,
    token: str,
    mongo: MongoClient[dict[str, Any]],
    redis: Redis,
    mongo_uri: str,
    redis_url: str,
) -> None:
    """It names a collection that is missing or empty, a filter that matches nothing, fields that no document has, keys
    through an array, keys of an application with some of them, and names of indexes that are taken; what it may mean
    is said. A check says the same and is content, and a contract over what is there has no finding."""
    contracts, films = ContractDirectory(tmp_path / "contracts", token), mongo[token]["films"]
    films.insert_many([{"_id": n, "title": f"film {n}", "cast": [{"name": "a"}]} for n in range(3)])
    mongo[token].create_collection("empty")
    redis.hset(f"{token}:foreign:card:mine", "cart", "1")
    redis.execute_command("FT.CREATE", f"{token}-theirs", "PREFIX", 1, f"{token}-x:", "SCHEMA", "a", "TEXT")
    redis.execute_command("FT.ALIASADD", f"{token}-alias", f"{token}-theirs")
    card, name = projection(["title"]), films.full_name
    contracts.write("fine", card, collection=name)
    contracts.write("missing", card, collection=f"{token}.flims")
    contracts.write("empty", card)
    contracts.write("filter", card, collection=name, filter={"tilte": "film 1"})
    contracts.write("field", projection({"title": "titel"}), collection=name)
    contracts.write("array", projection(["title"], key="{cast.name}:{_id}"), collection=name)
    contracts.write("foreign", card, collection=name)
    for short in ("theirs", "alias"):
        index = {"name": f"{token}-{short}", "fields": [{"name": "title", "type": "text"}]}
        contracts.write(short, projection(["title"], index=index), collection=name)
    env = {"SYNCD_MONGO_URI": mongo_uri, "SYNCD_REDIS_URL": redis_url}
    found = syncd("doctor", contracts.path, "-o", "json", **env)
    assert found.returncode == 1, found.stderr
    findings = [one for one in json.loads(found.stdout)["findings"] if one["level"] == "data"]
    said = {one["contracts"][0].removeprefix(f"{token}-"): one["what"] for one in findings}
    assert len(said) == len(findings) == 8, findings
    assert said["missing"] == f"there is no collection {token}.flims (did you mean `films`?)"
    assert said["empty"] == f"collection {token}.empty is empty"
    assert said["filter"] == (
        f"`filter` matches no document of {name}, and no document has `tilte` (did you mean `title`?)"
    )
    assert said["field"] == f"none of 3 documents of {name} has `titel` (did you mean `title`?)"
    assert said["array"].startswith(
        f"3 of 3 documents of {name} would be dead letters of projection card (key_field_"
    )
    assert said["foreign"].startswith(
        f"1 keys under `{token}:foreign:card:{{_id}}` were not written by syncd, such as"
    )
    assert f"`{token}:foreign:card:mine`" in said["foreign"]
    assert said["theirs"].startswith(
        f"another client has made an index {token}-theirs, which hides the alias"
    )
    assert said["alias"].startswith(f"the alias {token}-alias leads to {token}-theirs, which is not syncd's")
    checked = syncd("check", "--connect", contracts.path, **env)
    assert checked.returncode == 0
    assert all(what in checked.stderr for what in said.values())


def test_what_mongodb_refuses_of_a_contract(
    tmp_path: Path, token: str, mongo: MongoClient[dict[str, Any]], mongo_uri: str, redis_url: str
) -> None:
    """A filter that it cannot read, and a view for the records of conflicts, are problems of their contracts, with a
    place; a filter that fails on documents is told, with what becomes of them. No contract hides what is wrong with
    another one."""
    contracts, both = ContractDirectory(tmp_path / "contracts", token), mongo[token]["both"]
    films = mongo[token]["films"]
    films.insert_one({"_id": 1, "title": "film", "n": 0})
    both.insert_one({"_id": 1, "title": "film"})
    mongo[token].command("create", "view", viewOn="films", pipeline=[])
    card, name = projection(["title"]), films.full_name
    contracts.write("unknown", card, collection=name, filter={"title": {"$foo": 1}})
    contracts.write("regex", card, collection=name, filter={"title": {"$regex": "("}})
    contracts.write("fails", card, collection=name, filter={"$expr": {"$gt": [{"$divide": [1, "$n"]}, 0]}})
    records = {"on_conflict": "merge_fields", "conflicts": f"{token}.view"}
    contracts.write("both", card, sync={"direction": "both", "capture": "outbox", **records})
    env = {"SYNCD_MONGO_URI": mongo_uri, "SYNCD_REDIS_URL": redis_url}
    checked = syncd("check", "--connect", contracts.path, **env)
    assert checked.returncode == 1, checked.stderr
    assert f"`filter` fails on documents of {name}, which would be dead letters (" in checked.stderr
    problems = {line.split(":")[0].split("/")[-1]: line for line in checked.stdout.splitlines()[:-1]}
    assert problems.keys() == {"unknown.yaml", "regex.yaml", "both.yaml"}
    assert "MongoDB refuses the filter: unknown operator: $foo" in problems["unknown.yaml"]
    assert "MongoDB refuses the filter: Regular expression is invalid" in problems["regex.yaml"]
    assert f"{token}.view is a view, which takes no records of conflicts" in problems["both.yaml"]
