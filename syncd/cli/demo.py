"""`syncd demo`: real servers, real films, the daemon, and something to try."""

# ruff: noqa: PLC0415 - what a verb imports when it runs does not slow the others down
from __future__ import annotations

import time
from pathlib import Path
from typing import Annotated, Any

import typer


def demo(
    once: Annotated[
        bool, typer.Option("--once", help="Check everything once without a person, and end.")
    ] = False,
    contracts: Annotated[
        Path, typer.Option("--contracts", metavar="PATH", help="Directory that holds movies.yaml.")
    ] = Path("contracts"),
) -> None:
    """Start MongoDB, Redis and syncd, load 17,472 films, and show their changes in Redis. Exit code 0 when all checks
    hold."""
    from pymongo import MongoClient
    from redis import Redis
    from rich.console import Console

    from syncd.demo.films import embedder
    from syncd.demo.round import CheckFailed, whole_round
    from syncd.demo.stage import Daemon, clear, load_films, servers
    from syncd.demo.view import watch

    if not (contracts / "movies.yaml").is_file():
        typer.echo(
            f"no {contracts}/movies.yaml here; run this in the repository, or name --contracts", err=True
        )
        raise typer.Exit(2)
    console = Console(highlight=False)
    started = time.monotonic()

    def say(text: str) -> None:
        console.print(f"[dim]{time.monotonic() - started:6.1f} s[/dim]  ", end="")
        console.print(text, markup=False)

    with servers() as where, MongoClient[dict[str, Any]](where.mongo_uri) as mongo:
        say(f"MongoDB at {where.mongo_uri}, Redis at {where.redis_url}")
        embed = embedder()
        redis = Redis.from_url(where.redis_url, decode_responses=True, protocol=2)
        clear(redis)
        say(f"loaded {load_films(mongo, embed):,} films with embeddings into catalog.movies")
        daemon = Daemon(where, contracts)
        try:
            say(f"syncd is ready after {daemon.wait_ready():.1f} s: all films copied and indexed")
            if once:
                whole_round(mongo, redis, embed, say)
            else:
                watch(daemon, where, console)
        except CheckFailed as error:
            say(f"FAILED: {error}; the daemon's log is {daemon.log}")
            raise typer.Exit(1) from None
        except KeyboardInterrupt:
            say("stopping")
        finally:
            code = daemon.stop()
        say(f"syncd stopped with exit code {code}")
        if code:
            raise typer.Exit(1)
