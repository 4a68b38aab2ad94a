"""Reads random keys all the time, as an application would, and notes every version that goes back and every torn key.

It holds a number and a few samples for each key and each document, however long it runs.
"""

from __future__ import annotations

import random
import threading
import time
from collections import deque
from contextlib import suppress
from typing import Any

from redis.exceptions import RedisClusterException, RedisError

from tests.soak.contracts import SHORTS, prefix
from tests.soak.documents import POOL, SLUGS, identity, slug
from tests.soak.projection import ask, key_text, understood
from tests.support.servers.shared import connect

AWAY = (RedisError, RedisClusterException, OSError)
SAMPLE = 40
"""Keys a round."""
PAUSE_S = 0.01
KEPT_SAMPLES = 6
KEPT_WRONG = 50


class Recorder(threading.Thread):
    """As a context manager, between start and stop. `url` leads straight to Redis; while `may_go_back` is set, versions
    may be older than before. `moves_in_one_step`: whether a document leaves a key in the step that gives it another."""

    def __init__(
        self, url: str, may_go_back: threading.Event, seed: int, began: float, *, moves_in_one_step: bool
    ) -> None:
        super().__init__(name="recorder", daemon=True)
        self._url, self._redis = url, connect(url)
        self._may_go_back, self._moves_in_one_step = may_go_back, moves_in_one_step
        self._chance = random.Random(f"{seed}/recorder")
        self._began = began
        self._halt = threading.Event()
        self._newest: dict[str, int] = {}
        self._history: dict[str, deque[tuple[float, int]]] = {}
        self._where: dict[str, str] = {}
        """The key at which a document of `page` was seen last."""
        self._left: list[tuple[str, str]] = []
        self._keys = [
            (short, prefix(short) + (slug(n) if short == "page" else key_text(identity(short, n))))
            for short in SHORTS
            for n in range(SLUGS if short == "page" else POOL)
        ]
        self.samples = 0
        self.absent = 0
        self.steps = 0
        self.backwards = 0
        self.torn = 0
        self.died = ""
        self.wrong: list[dict[str, Any]] = []

    def run(self) -> None:
        try:
            while not self._halt.wait(PAUSE_S):
                self._round()
        except Exception as error:  # a recorder that died in silence would look like a good result
            self.died = f"{type(error).__name__}: {error}"

    def _round(self) -> None:
        # Where a document was seen to have moved, its old key is read next: nothing may be left there.
        chosen = self._left + self._chance.sample(self._keys, SAMPLE)
        self._left = []
        pipe = self._redis.pipeline(transaction=False)
        for short, key in chosen:
            ask(pipe, short, key)
        try:
            replies = pipe.execute()
        except AWAY:
            self._redis.close()
            self._halt.wait(0.1)
            with suppress(*AWAY):  # of a cluster another node may have the keys now
                self._redis = connect(self._url)
            return
        for (short, key), reply in zip(chosen, replies, strict=True):
            self._look(short, key, understood(short, reply), reply)

    def _look(self, short: str, key: str, state: dict[str, Any] | None, reply: Any) -> None:
        self.samples += 1
        if state is None:
            self.absent += 1
            return None
        try:
            version, twin = int(state["v"]), int(state["w"])
        except (KeyError, ValueError):
            version, twin = -1, -2
        if version != twin:
            self.torn += 1
            return self._note("torn", key, reply)
        self._follow(key, version, reply)
        if short == "page" and self._moves_in_one_step:
            name = f"{prefix(short)} document {state.get('id')}"
            self._follow(name, version, reply)
            before, self._where[name] = self._where.get(name, key), key
            if before != key:
                self._left.append((short, before))
        return None

    def _follow(self, name: str, version: int, reply: Any) -> None:
        newest = self._newest.get(name, -1)
        if version == newest:
            return
        seen = self._history.setdefault(name, deque(maxlen=KEPT_SAMPLES))
        seen.append((round(time.monotonic() - self._began, 3), version))
        if version < newest and not self._may_go_back.is_set():
            self.backwards += 1
            self._note(f"backwards from {newest}", name, reply)
        self.steps += 1
        self._newest[name] = version

    def _note(self, what: str, key: str, reply: Any) -> None:
        if len(self.wrong) < KEPT_WRONG:
            found = {
                "at": round(time.monotonic() - self._began, 3),
                "what": what,
                "key": key,
                "holds": str(reply),
                "history": list(self._history.get(key, ())),
            }
            self.wrong.append(found)
            print(f"{found['at']:8.1f} s  VIOLATION {found}", flush=True)

    def history(self, key: str) -> list[tuple[float, int]]:
        """The last samples of a key: seconds since the start, version."""
        return list(self._history.get(key, ()))

    def __enter__(self) -> Recorder:
        self.start()
        return self

    def stop(self) -> None:
        self._halt.set()
        self.join()

    def __exit__(self, *error: object) -> None:
        self.stop()
        self._redis.close()
