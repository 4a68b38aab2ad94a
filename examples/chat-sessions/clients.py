"""The application: processes that keep conversations in Redis, as fast as they can."""

from __future__ import annotations

import multiprocessing
import time
from decimal import Decimal
from typing import Any

from redis import Redis

STREAM = "chat:turns"
OUTBOX = "syncd:{chat-sessions}:outbox"
PRICE = Decimal("0.000015")  # a token


def key(session: int) -> str:
    """Where the state of a conversation is."""
    return f"chat:session:{session}"


def state(session: int, turns: int, at: int) -> dict[str, str]:
    """What the hash holds behind a turn: all of it is text."""
    tokens = 40 * turns
    return {
        "user": f"{session:024x}",
        "turns": str(turns),
        "tokens": str(tokens),
        "cost": str(tokens * PRICE),
        "last_at": str(at),
        "state": "waiting" if turns % 2 else "answered",
        "topics": f'["topic {turns % 7}", {{"turn": {turns}}}]',
    }


def turn(session: int, number: int, at: int) -> dict[str, str]:
    """What the stream says of one turn."""
    role = "user" if number % 2 else "assistant"
    said = {"session": session, "turn": number, "role": role, "tokens": 40, "at": at}
    return {name: str(value) for name, value in said.items()} | {"text": f"turn {number} of {session}"}


def talk(redis_url: str, sessions: range, all_here: Any, stop: Any, said: Any) -> None:
    """One process: a turn in each of its conversations, again and again. Puts the number of turns into `said`."""
    client = Redis.from_url(redis_url)
    turns = 0
    all_here.wait()
    while not stop.is_set():
        turns += 1
        for session in sessions:
            at = round(time.time() * 1000)
            # The state, the note that it changed, and the turn: all three or none.
            with client.pipeline(transaction=True) as pipe:
                pipe.hset(key(session), mapping=state(session, turns, at))
                pipe.xadd(OUTBOX, {"key": key(session)})
                pipe.xadd(STREAM, turn(session, turns, at))
                pipe.execute()
    said.put((sessions.start, turns))


class Clients:
    """Processes that share the sessions. `finish` gives the turns of each session."""

    def __init__(self, redis_url: str, sessions: int, processes: int) -> None:
        spawn = multiprocessing.get_context("spawn")
        self._stop, self._said = spawn.Event(), spawn.Queue()
        each = -(-sessions // processes)
        self._shares = [range(at, min(at + each, sessions)) for at in range(0, sessions, each)]
        all_here = spawn.Barrier(len(self._shares) + 1)
        self._processes = [
            spawn.Process(target=talk, args=(redis_url, share, all_here, self._stop, self._said), daemon=True)
            for share in self._shares
        ]
        for process in self._processes:
            process.start()
        all_here.wait(60)

    def finish(self) -> dict[int, int]:
        """Let every process end its round."""
        self._stop.set()
        turns = dict(self._said.get(timeout=60) for _ in self._processes)
        for process in self._processes:
            process.join()
        return {session: turns[share.start] for share in self._shares for session in share}
