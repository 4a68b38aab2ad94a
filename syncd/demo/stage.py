"""Servers, films and the daemon process of the demonstration."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pymongo import MongoClient
from redis import Redis

from syncd.demo.films import Embed, films
from syncd.embedded.ports import LOOPBACK, Port
from syncd.embedded.redis import RedisServer
from syncd.embedded.replica_set import ReplicaSet
from syncd.errors import SyncdError


@dataclass(frozen=True, slots=True)
class Servers:
    """Where the stores are."""

    mongo_uri: str
    redis_url: str

    @property
    def environment(self) -> dict[str, str]:
        """Variables of any verb about them."""
        return {**os.environ, "SYNCD_MONGO_URI": self.mongo_uri, "SYNCD_REDIS_URL": self.redis_url}


@contextlib.contextmanager
def servers() -> Iterator[Servers]:
    """The servers of SYNCD_MONGO_URI and SYNCD_REDIS_URL where they are set, else new ones that end with the demo."""
    mongo_uri, redis_url = os.environ.get("SYNCD_MONGO_URI"), os.environ.get("SYNCD_REDIS_URL")
    with contextlib.ExitStack() as stack:
        if not mongo_uri:
            mongo_uri = stack.enter_context(ReplicaSet()).uri
        if not redis_url:
            redis_url = stack.enter_context(RedisServer()).url
        yield Servers(mongo_uri, redis_url)


def load_films(mongo: MongoClient[dict[str, Any]], embed: Embed) -> int:
    """Put all films into catalog.movies, in place of what was there."""
    collection = mongo["catalog"]["movies"]
    collection.drop()
    documents = list(films(embed))
    collection.insert_many(documents, ordered=False)
    return len(documents)


def clear(redis: Redis) -> None:
    """Remove what an earlier demo left in a Redis that goes on running."""
    for pattern in ("movie:*", "passage:*", "syncd:{movies}:*"):
        for key in redis.scan_iter(match=pattern, count=5000):
            redis.delete(key)


class Daemon:
    """`syncd run` as a child process; its log goes to a file. More settings come by name: `SYNCD_SITE="hill"`."""

    def __init__(self, where: Servers, contracts: Path, **more: str) -> None:
        self._port = Port()
        self.address = f"{LOOPBACK}:{self._port.number}"
        self.contracts = contracts
        self.environment = {
            **where.environment,
            "SYNCD_HTTP": self.address,
            "SYNCD_LOG_FORMAT": "json",
            **more,
        }
        """Variables of the daemon, and of any other verb about the same servers."""
        with tempfile.NamedTemporaryFile(prefix="syncd-demo-", suffix=".log", delete=False) as log:
            self.log = Path(log.name)
            self._process = subprocess.Popen(  # noqa: S603 - our own command
                [sys.executable, "-m", "syncd", "run", "--contracts", str(contracts)],
                env=self.environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    @property
    def pid(self) -> int:
        """Process id, for `kill`."""
        return self._process.pid

    def status(self) -> dict[str, Any] | None:
        """The reply of /status; None while the daemon does not answer."""
        try:
            with urllib.request.urlopen(f"http://{self.address}/status", timeout=2) as reply:
                said: dict[str, Any] = json.load(reply)
                return said
        except (urllib.error.URLError, TimeoutError, ConnectionError):
            return None

    def wait_ready(self, timeout: float = 120) -> float:
        """Seconds until every lane serves. Raises SyncdError when the daemon ends or takes too long."""
        start = time.monotonic()
        while not ((said := self.status()) and said["ready"] and said["lanes"]):
            if self._process.poll() is not None or time.monotonic() - start > timeout:
                raise SyncdError(
                    f"the daemon did not get ready; its log is {self.log}:\n{self._last_lines()}"
                )
            time.sleep(0.02)
        return time.monotonic() - start

    def _last_lines(self) -> str:
        return "\n".join(self.log.read_text(encoding="utf-8").splitlines()[-10:])

    @property
    def running(self) -> bool:
        """Whether the process lives."""
        return self._process.poll() is None

    def stop(self) -> int:
        """SIGTERM, and the exit code."""
        if self.running:
            self._process.terminate()
        try:
            return self._process.wait(30)
        except subprocess.TimeoutExpired:
            self._process.kill()
            return self._process.wait()
