"""What docs/how-to/ai-clients.md says of clients, with the packages themselves. `make clients` installs them."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from pymongo import MongoClient
from redis import Redis

from syncd.embedded import RedisServer, ReplicaSet
from tests.support.check import wait_until
from tests.support.daemon import Daemon
from tests.support.servers.shared import connect

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "how-to" / "ai-clients.md").read_text(encoding="utf-8")
GROUPS = {
    "RedisVL": "",
    "LangChain": "clients",
    "redis-om": "clients",
    "LlamaIndex": "clients-llamaindex",
}
"""Which group of dependencies a client is in; without one it is among those of all tests."""
WORDS = ("robot", "love", "war", "city")
MODEL = f"""
def embed(text):
    return [1.0 + 9 * (word in text) for word in {WORDS!r}]
"""
PASSAGES = {
    "p1": ("a robot falls in love", "robots", 1984),
    "p2": ("a robot goes to war", "robots", 2004),
    "p3": ("love in the city", "romance", 1950),
}
LONGEST_S = 120


@pytest.fixture(scope="module")
def mongo() -> Iterator[str]:
    """Where the passages are."""
    with ReplicaSet() as servers, MongoClient[dict[str, Any]](servers.uri) as client:
        client["library"].passages.insert_many(
            {
                "_id": ident,
                "text": text,
                "genre": genre,
                "year": year,
                "embedding": [1.0 + 9 * (word in text) for word in WORDS],
            }
            for ident, (text, genre, year) in PASSAGES.items()
        )
        yield servers.uri


def block(section: str, language: str) -> str:
    """The one block of this kind in a section."""
    (found,) = re.findall(rf"^```{language}\n(.*?)^```$", section, re.MULTILINE | re.DOTALL)
    return str(found)


def section(client: str) -> str:
    return PAGE.split(f"\n## {client}\n")[1].split("\n## ")[0]


def python(client: str) -> Path:
    """The interpreter that has the client's package."""
    group = GROUPS[client]
    found = ROOT / ".cache" / "clients" / group / "bin" / "python" if group else Path(sys.executable)
    if not found.exists():
        pytest.skip(f"{client} is not installed: `make clients` installs it and runs this")
    return found


@contextmanager
def serving(mongo: str, folder: Path, contract: str) -> Iterator[tuple[Daemon, Redis]]:
    """A daemon that has copied the passages to a Redis of its own, which it then watches."""
    (folder / "contracts").mkdir()
    (folder / "contracts" / "passages.yaml").write_text(contract)
    (folder / "model.py").write_text(MODEL)
    with (
        RedisServer() as server,
        Daemon(folder / "contracts", mongo_uri=mongo, redis_url=server.url) as daemon,
        connect(server.url) as redis,
    ):
        daemon.wait_ready()
        wait_until(lambda: redis.execute_command("FT.SEARCH", "passages", "*")[0] == len(PASSAGES))
        yield daemon, redis


def run(interpreter: Path, folder: Path, redis: Redis, code: str) -> subprocess.CompletedProcess[str]:
    """A snippet, in a process of its own."""
    (folder / "snippet.py").write_text(code)
    where = redis.connection_pool.connection_kwargs
    env = {**os.environ, "REDIS_URL": f"redis://{where['host']}:{where['port']}"}
    return subprocess.run(
        [interpreter, "snippet.py"],
        cwd=folder,
        env=env,
        capture_output=True,
        text=True,
        timeout=LONGEST_S,
        check=False,
    )


def test_every_client_of_the_page_is_tried() -> None:
    """A section with a snippet is one of a client that is known here."""
    sections = re.findall(r"^## (.*)$", PAGE, re.MULTILINE)
    assert {name for name in sections if "```python" in section(name)} == GROUPS.keys()


@pytest.mark.parametrize("client", GROUPS)
def test_the_snippet_finds_what_the_page_says(client: str, mongo: str, tmp_path: Path) -> None:
    """Contract and snippet of the page, as they stand: the client finds the passages, prints what the page says, and
    does nothing to the index."""
    interpreter, said = python(client), section(client)
    with serving(mongo, tmp_path, block(said, "yaml")) as (daemon, redis):
        before = redis.execute_command("FT._LIST")
        done = run(interpreter, tmp_path, redis, block(said, "python"))
        assert done.stdout.endswith(block(said, "text")), done.stdout + done.stderr
        assert redis.execute_command("FT._LIST") == before
        assert redis.execute_command("FT.SEARCH", "passages", "*")[0] == len(PASSAGES)
        assert not daemon.logs(event="index name is taken")
        assert not daemon.logs(event="index was dropped by another client")


QUICK_STARTS = {
    "LangChain": ("from_existing=True, ", ""),
    "LlamaIndex": ("", ""),
    "redis-om": ("print(", "from redis_om import Migrator\nMigrator().run()\nprint("),
}
"""What turns the snippet of the page into one that makes an index of its own."""


@pytest.mark.parametrize("client", QUICK_STARTS)
def test_a_quick_start_that_makes_an_index_of_its_own(client: str, mongo: str, tmp_path: Path) -> None:
    """Over an alias: it is told with its name and the remedy, every key stays or comes back, and when the index of the
    client is gone the name finds every passage again."""
    interpreter, said = python(client), section(client)
    contract = block(said, "yaml").replace("      generations: in_place\n", "")
    with serving(mongo, tmp_path, contract) as (daemon, redis):
        run(interpreter, tmp_path, redis, block(said, "python").replace(*QUICK_STARTS[client], 1))
        wait_until(lambda: daemon.logs(event="index name is taken"), message=daemon.process.log_tail)
        assert "`FT.DROPINDEX passages`" in daemon.logs(event="index name is taken")[0]["problem"]
        assert not daemon.is_ready()
        redis.execute_command("FT.DROPINDEX", "passages")
        daemon.wait_ready()
        wait_until(lambda: redis.execute_command("FT.SEARCH", "passages", "*")[0] == len(PASSAGES))
