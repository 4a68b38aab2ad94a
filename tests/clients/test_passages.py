"""What docs/how-to/passages.md says of clients that search a key for each passage, with the packages themselves."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pymongo import MongoClient

from syncd.embedded import RedisServer, ReplicaSet
from tests.clients.test_ai_clients import MODEL, PASSAGES, ROOT, WORDS, block, python, run
from tests.support.check import wait_until
from tests.support.daemon import Daemon
from tests.support.servers.shared import connect

PAGE = (ROOT / "docs" / "how-to" / "passages.md").read_text(encoding="utf-8")
CLIENTS = ("RedisVL", "LangChain")


def section(name: str) -> str:
    return PAGE.split(f"\n## {name}\n")[1].split("\n## ")[0]


def passage(ident: str) -> dict[str, Any]:
    text = PASSAGES[ident][0]
    return {"id": ident, "text": text, "embedding": [1.0 + 9 * (word in text) for word in WORDS]}


@pytest.fixture(scope="module")
def mongo() -> Iterator[str]:
    """Where the articles are."""
    with ReplicaSet() as servers, MongoClient[dict[str, Any]](servers.uri) as client:
        client["library"].articles.insert_many([
            {"_id": "a1", "title": "On robots", "year": 1984, "passages": [passage("p1"), passage("p2")]},
            {"_id": "a2", "title": "On love", "year": 1950, "passages": [passage("p3")]},
        ])  # fmt: skip
        yield servers.uri


def test_every_client_of_the_page_is_tried() -> None:
    """A section with a snippet is one of a client that is known here."""
    sections = re.findall(r"^## Search with (.*)$", PAGE, re.MULTILINE)
    assert tuple(sections) == CLIENTS


@pytest.mark.parametrize("client", CLIENTS)
def test_the_snippet_finds_what_the_page_says(client: str, mongo: str, tmp_path: Path) -> None:
    """Contract and snippet of the page, as they stand: the client finds the passage; when its article has it no more,
    no search finds it."""
    interpreter, said = python(client), section(f"Search with {client}")
    (tmp_path / "contracts").mkdir()
    (tmp_path / "contracts" / "articles.yaml").write_text(block(section("The contract"), "yaml"))
    (tmp_path / "model.py").write_text(MODEL)
    with (
        RedisServer() as server,
        Daemon(tmp_path / "contracts", mongo_uri=mongo, redis_url=server.url) as daemon,
        connect(server.url) as redis,
        MongoClient[dict[str, Any]](mongo) as source,
    ):
        daemon.wait_ready()
        wait_until(lambda: redis.execute_command("FT.SEARCH", "passages", "*")[0] == len(PASSAGES))
        done = run(interpreter, tmp_path, redis, block(said, "python"))
        assert done.stdout.endswith(block(said, "text")), done.stdout + done.stderr
        articles = source["library"].articles
        articles.update_one({"_id": "a1"}, {"$pull": {"passages": {"id": "p1"}}})
        wait_until(lambda: redis.execute_command("FT.SEARCH", "passages", "*")[0] == len(PASSAGES) - 1)
        gone = run(interpreter, tmp_path, redis, block(said, "python"))
        assert not gone.returncode and "falls in love" not in gone.stdout, gone.stdout + gone.stderr
        articles.update_one({"_id": "a1"}, {"$push": {"passages": passage("p1")}})
