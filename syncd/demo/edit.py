"""An edit of the contract while the daemon runs: what `syncd plan` says of it, and the copy that follows."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

from pymongo import MongoClient
from redis import Redis

from syncd.demo.round import Say, expect, seen_within
from syncd.demo.stage import Daemon, Servers

BEFORE = "      minutes: minutes\n"
AFTER = BEFORE + "      languages: languages\n"
COPY_S = 120.0


def plan(where: Servers, contracts: Path, say: Say) -> None:
    """Print what `syncd plan` says of a directory of contracts."""
    command = [sys.executable, "-m", "syncd", "plan", "--contracts", str(contracts)]
    done = subprocess.run(command, env=where.environment, capture_output=True, text=True, check=False)  # noqa: S603 - our own command
    for line in (done.stdout or done.stderr).splitlines():
        say(f"    {line}")


def edit(
    daemon: Daemon, where: Servers, mongo: MongoClient[dict[str, Any]], redis: Redis, folder: Path, say: Say
) -> None:
    """Add a field to the cards: first as a plan, then for the daemon. Raises CheckFailed."""
    file = daemon.contracts / "movies.yaml"
    text = file.read_text(encoding="utf-8")
    expect(BEFORE in text, f"{file} has the field minutes")
    proposed = folder / "proposed"
    proposed.mkdir()
    (proposed / "movies.yaml").write_text(text.replace(BEFORE, AFTER, 1), encoding="utf-8")
    say("an edit adds the field languages to the cards; `syncd plan` says what it will do:")
    plan(where, proposed, say)
    film = mongo["catalog"]["movies"].find_one({"status": "released", "languages.0": {"$exists": True}})
    assert film is not None
    key = f"movie:{film['_id']}"
    expect(not redis.hexists(key, "languages"), "the cards have no languages yet")
    (proposed / "movies.yaml").replace(file)
    ms = seen_within(COPY_S, lambda: _is_live(daemon, redis, key), "the copy after the edit")
    say(
        f"the daemon has taken the edit up and copied all films again: live after {ms / 1000:.1f} s, with languages"
    )


def _is_live(daemon: Daemon, redis: Redis, key: str) -> bool:
    said = daemon.status()
    return bool(said and said["ready"] and redis.hexists(key, "languages"))
