"""`syncd demo`: real servers, real films, the daemon, and something to try."""

# ruff: noqa: PLC0415 - what a verb imports when it runs does not slow the others down
from __future__ import annotations

import contextlib
import shutil
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from collections.abc import Callable

    from rich.console import Console


def demo(
    once: Annotated[
        bool, typer.Option("--once", help="Check everything once without a person, and end.")
    ] = False,
    contracts: Annotated[
        Path, typer.Option("--contracts", metavar="PATH", help="Directory that holds movies.yaml.")
    ] = Path("contracts"),
) -> None:
    """Start MongoDB, Redis and syncd, load 17,472 films, and show their changes in Redis and in the console. With
    `--once` the contract is edited as well, in a copy of its directory. Exit code 0 when all checks hold."""
    from pymongo import MongoClient
    from redis import Redis
    from rich.console import Console

    from syncd.demo.edit import edit, plan
    from syncd.demo.films import embedder
    from syncd.demo.round import CheckFailed, whole_round
    from syncd.demo.stage import Daemon, clear, load_films, servers
    from syncd.demo.view import watch

    if not (contracts / "movies.yaml").is_file():
        what = f"no {contracts}/movies.yaml here; run this in the repository, or name --contracts"
        typer.echo(what, err=True)
        raise typer.Exit(2)
    console = Console(highlight=False)
    say = _teller(console)
    with (
        contextlib.ExitStack() as stack,
        servers() as where,
        MongoClient[dict[str, Any]](where.mongo_uri) as mongo,
    ):
        say(f"MongoDB at {where.mongo_uri}, Redis at {where.redis_url}")
        embed = embedder()
        redis = Redis.from_url(where.redis_url, decode_responses=True, protocol=2)
        clear(redis)
        say(f"loaded {load_films(mongo, embed):,} films with embeddings into catalog.movies")
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="syncd-demo-")))
        # The edit of `--once` is in a copy.
        contracts = Path(shutil.copytree(contracts, folder / "contracts")) if once else contracts
        say("`syncd plan` says what the daemon will do:")
        plan(where, contracts, say)
        daemon = Daemon(where, contracts)
        try:
            say(f"the console: http://{daemon.address}/")
            say(f"syncd is ready after {daemon.wait_ready():.1f} s: all films copied and indexed")
            if once:
                whole_round(mongo, redis, embed, say)
                edit(daemon, where, mongo, redis, folder, say)
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


def _teller(console: Console) -> Callable[[str], None]:
    """Prints lines, each with the seconds since now."""
    started = time.monotonic()

    def say(text: str) -> None:
        console.print(f"[dim]{time.monotonic() - started:6.1f} s[/dim]  ", end="")
        console.print(text, markup=False)

    return say
