"""Fixtures for tests against real servers.

The servers are shared by all tests of a run and are never flushed, killed or reconfigured: a test stays
inside its `database` and its `prefix`. A test that breaks a server, or needs a server-wide setting, starts
its own with `syncd.embedded` (a Redis takes 30 ms, a replica set of one 0.6 s, of three 4 s).
"""

from __future__ import annotations

import gc
import os
import secrets
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
from hypothesis import settings
from pymongo import MongoClient
from redis import Redis

from tests.support import zygote
from tests.support.programs.needed import NotFound, give_up
from tests.support.scale import MARK, SCALE, deselect
from tests.support.servers.shared import Servers, connect

# How long an example takes says more of what else this machine does than of the code.
EXAMPLES = 30 * SCALE
settings.register_profile("unhurried", deadline=None, max_examples=EXAMPLES)
settings.load_profile("unhurried")

# A run starts Python many hundred times. Where the environment forbids it to keep what it compiled (images often do),
# that alone takes two thirds of the time of a start. So it is kept here, for this process and for all that it starts.
BYTECODE = Path(__file__).parents[1] / ".cache" / "bytecode"
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
os.environ["PYTHONPYCACHEPREFIX"] = sys.pycache_prefix = str(BYTECODE)
sys.dont_write_bytecode = False

# What collecting makes stays. To look through it for garbage, again and again, takes a fifth of the time of collecting.
gc.disable()


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line(
        "markers", f"{MARK}(*cases): these, or all_but_one_of=N, or the test, run with SYNCD_TEST_SCALE=2"
    )


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    deselect(config, items)


def pytest_collection_finish() -> None:
    gc.freeze()
    gc.enable()


@pytest.fixture(scope="session", autouse=True)
def no_child_survives() -> Iterator[None]:
    """Set up first, so that it looks last: every process that a test started has ended."""
    yield
    own = zygote.processes()
    children = [child for child in psutil.Process().children(recursive=True) if child.pid not in own]
    _, alive = psutil.wait_procs(children, timeout=3)
    survivors = [f"{process.pid} {' '.join(process.cmdline())}" for process in alive]
    for process in alive:
        process.kill()
    zygote.stop()
    assert not survivors, "processes left behind by tests:\n" + "\n".join(survivors)


@pytest.fixture(scope="session", autouse=True)
def no_settings_from_outside() -> Iterator[None]:
    """A developer's own SYNCD_... variables must not reach the daemons that tests start."""
    with pytest.MonkeyPatch.context() as patch:
        for name in list(os.environ):
            if name.startswith("SYNCD_") and not name.startswith("SYNCD_TEST_"):
                patch.delenv(name)
        yield


@pytest.fixture(scope="session")
def servers(no_child_survives: None) -> Iterator[Servers]:
    """Starts nothing by itself; see the fixtures below."""
    with Servers() as shared:
        yield shared


@pytest.fixture(scope="session")
def mongo_uri(servers: Servers) -> str:
    """A replica set of one, MongoDB 6.0, with test commands."""
    return servers.mongo_uri


@pytest.fixture(scope="session")
def redis_url(servers: Servers) -> str:
    """Redis 8.2 with RediSearch and RedisJSON."""
    return servers.redis_url


@pytest.fixture(scope="session")
def valkey_url(servers: Servers) -> str:
    """Valkey 9: functions, no search, no JSON."""
    return servers.valkey_url


@pytest.fixture(scope="session")
def redis70_url(servers: Servers) -> str:
    """Redis 7.0, the oldest supported. Must be there in CI; elsewhere its tests are skipped without it."""
    try:
        return servers.redis70_url
    except NotFound as error:
        give_up(error)


@pytest.fixture(scope="session")
def mongo(mongo_uri: str) -> Iterator[MongoClient[dict[str, Any]]]:
    with MongoClient[dict[str, Any]](mongo_uri) as client:
        yield client


@pytest.fixture
def redis(redis_url: str) -> Iterator[Redis]:
    """Replies are bytes; nothing is retried."""
    with connect(redis_url) as client:
        yield client


@pytest.fixture
def token(servers: Servers) -> Iterator[str]:
    """A word that no other test has (`t7f3a09c1`). After the test everything that carries it is removed:
    databases, keys that start with it, state of contracts with it in their name, indexes."""
    word = f"t{secrets.token_hex(4)}"
    yield word
    servers.forget(word)


@pytest.fixture
def database(token: str) -> str:
    """The name of a database of this test's own."""
    return token


@pytest.fixture
def prefix(token: str) -> str:
    """What every key of this test starts with (`t7f3a09c1:`)."""
    return f"{token}:"
