"""Whether MongoDB and Redis answer: asked for people, over connections of its own, so that a server that is gone delays
no lane."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any

from pymongo import timeout
from pymongo.errors import PyMongoError

from syncd.errors import StoreError
from syncd.settings import Settings
from syncd.stores.mongo.store import MongoStore
from syncd.stores.redis.store import RedisStore, translated
from syncd.stores.together import Together

KEEP_S = 2.0
"""How long an answer is shown: every open page asks."""
PATIENCE_S = 2.0
"""How long a page waits for a server."""


class Servers:
    """Thread-safe. Nothing connects before the first page asks."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._health: Together[dict[str, Any]] = Together(KEEP_S)
        self._lock = threading.Lock()
        self._mongo: MongoStore | None = None
        self._redis: RedisStore | None = None

    @property
    def redis(self) -> RedisStore:
        """For what people read."""
        with self._lock:
            if self._redis is None:
                self._redis = RedisStore.of(self._settings).with_timeout(PATIENCE_S)
            return self._redis.renewed()

    @property
    def mongo(self) -> MongoStore:
        """The same of MongoDB."""
        with self._lock:
            if self._mongo is None:
                self._mongo = MongoStore.of(self._settings, server_selection_timeout_s=PATIENCE_S)
            return self._mongo

    def health(self) -> dict[str, Any]:
        """Of both, as of KEEP_S ago at most."""
        return self._health.ask(self._ask)

    def _ask(self) -> dict[str, Any]:
        """Both at once: neither waits for the other."""
        said: dict[str, Any] = {}
        questions = {"mongo": self._mongo_says, "redis": self._redis_says}
        threads = [
            threading.Thread(target=_answer, args=(said, name, question), name=f"ask-{name}", daemon=True)
            for name, question in questions.items()
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(2 * PATIENCE_S)
        return {name: said.get(name, _silent("it does not answer")) for name in questions}

    def _mongo_says(self) -> dict[str, Any]:
        with timeout(PATIENCE_S):
            server = self.mongo.connect()
        window = self.mongo.oplog_window()
        return {"says": str(server), "oplog_seconds": window[1] - window[0] if window else None}

    def _redis_says(self) -> dict[str, Any]:
        server = self.redis.look()
        with translated():
            memory: Any = self.redis.client.info("memory")
        return {
            "says": f"{server.flavour} {'.'.join(map(str, server.version))}",
            "memory_bytes": int(memory.get("used_memory", 0)),
            "maxmemory_bytes": int(memory.get("maxmemory") or 0) or None,
        }

    def close(self) -> None:
        """Close all connections."""
        with self._lock:
            for store in (self._mongo, self._redis):
                if store is not None:
                    store.close()


def _answer(said: dict[str, Any], name: str, question: Callable[[], dict[str, Any]]) -> None:
    start = time.perf_counter()
    try:
        answer = question()
    except (StoreError, PyMongoError) as error:
        said[name] = _silent(str(error))
    else:
        said[name] = {"ok": True, "milliseconds": round((time.perf_counter() - start) * 1000, 1), **answer}


def _silent(why: str) -> dict[str, Any]:
    return {"ok": False, "milliseconds": None, "says": why}
