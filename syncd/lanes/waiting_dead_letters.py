"""How many dead letters of a contract wait for a person."""

from __future__ import annotations

from syncd import telemetry
from syncd.stores.redis.records.dead_letters import count_dead_letters
from syncd.stores.redis.store import RedisStore


class WaitingDeadLetters:
    """Of one run, called by one thread."""

    def __init__(self, redis: RedisStore, contract: str) -> None:
        self._redis, self._contract = redis, contract
        self._is_logged = False

    def count(self) -> int:
        """How many wait. A run that finds some at its first count says so in the log."""
        waiting = count_dead_letters(self._redis, self._contract)
        if waiting and not self._is_logged:
            telemetry.dead_letters_wait(self._contract, waiting)
        self._is_logged = True
        return waiting
