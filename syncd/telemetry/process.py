"""Events of the process: log, contracts, workers."""

from __future__ import annotations

import contextlib
import logging
import os
import sys
from collections.abc import MutableMapping, Sequence
from typing import Any, TextIO

import structlog

from syncd import __version__
from syncd.telemetry.dead_letters import flush_dead_letters
from syncd.telemetry.metrics import CONTRACTS_VALID, RELOADS, WORKER_RESTARTS, WORKER_UP
from syncd.telemetry.recent import RECENT
from syncd.text import escaped_all
from syncd.tracebacks import guard, render_exception

_log = structlog.stdlib.get_logger("syncd")


def configure_logging(level: str, form: str) -> None:
    """Log to stderr: JSON lines, or text for people (`auto`: on a terminal)."""
    guard()
    console = form == "console" or (form == "auto" and sys.stderr.isatty())
    colors = sys.stderr is not None and sys.stderr.isatty() and not os.environ.get("NO_COLOR")
    renderer: Any = structlog.processors.JSONRenderer()
    if console:
        renderer = structlog.dev.ConsoleRenderer(colors=colors)
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            render_exception,
            RECENT.keep,
            *([_escape] if console else []),
            renderer,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(getattr(logging, level.upper(), logging.INFO)),
        # A line and its end in one write: the workers of a daemon share the stream.
        logger_factory=structlog.WriteLoggerFactory(_Lenient(sys.stderr)),  # type: ignore[arg-type]
        cache_logger_on_first_use=False,
    )


def _escape(_: Any, __: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """JSON has escapes of its own; text for people gets them here."""
    return {name: value if name == "exception" else escaped_all(value) for name, value in event.items()}


def edit_waits(contract: str, plan: str) -> None:
    """An edit of a contract with `apply: planned` is not taken up before a person approves it."""
    _log.warning(
        "an edit waits for approval; `syncd plan`, then `syncd approve`", contract=contract, plan=plan
    )


def http_trouble(what: str, error: BaseException | None, count: int) -> None:
    """The HTTP server met errors: `count` since the line before, of which the last is logged."""
    _log.warning("trouble in the HTTP server", what=what, count=count, exc_info=error)


class _Lenient:
    """A log that cannot be written any more, as on a terminal that was closed or a full disk, must not stop a lane."""

    def __init__(self, stream: TextIO | None) -> None:
        self._stream = stream

    def write(self, text: str) -> None:
        if self._stream is not None:
            with contextlib.suppress(OSError, ValueError):
                self._stream.write(text)

    def flush(self) -> None:
        if self._stream is not None:
            with contextlib.suppress(OSError, ValueError):
                self._stream.flush()


def setting_unknown(name: str, meant: str) -> None:
    """A variable of the environment has the prefix of settings, and is none."""
    _log.warning("unknown setting is ignored", name=name, meant=meant or None)


def renewed(store: str) -> None:
    """Password or certificates of a store were renewed in their files, and what connects from now on uses them."""
    _log.info("new password or certificates are taken up", store=store)


def renewal_failed(store: str, why: str) -> None:
    """What the files of a store hold now cannot be used; the daemon goes on with what they held before."""
    _log.warning("what is new in the files is not taken up", store=store, error=why)


def primary_changed(before: str, now: str) -> None:
    """Sentinel names another primary of Redis. All lanes begin again from what that one holds."""
    _log.warning("Redis has another primary", before=before, now=now)


def worker_died(worker: int, exit_code: int | None, retry_s: float) -> None:
    """A worker process ended without being asked to. Negative exit codes are signals."""
    WORKER_RESTARTS.inc()
    _log.error("worker died", worker=worker, exit_code=exit_code, retry_seconds=round(retry_s, 2))


def worker_answers(worker: int, up: bool) -> None:
    """Whether a worker answered when the page was requested. Without an answer the page lacks the series of its
    contracts."""
    WORKER_UP.labels(str(worker)).set(up)


def contracts_applied(
    started: list[str], restarted: list[str], stopped: list[str], *, reloaded: bool
) -> None:
    """A set of contracts is in force: the first, or an edit of it."""
    CONTRACTS_VALID.set(1)
    if reloaded:
        RELOADS.labels("applied").inc()
        _log.info("contracts reloaded", started=started, restarted=restarted, stopped=stopped)


def collections_changed(started: list[str], stopped: list[str]) -> None:
    """Collections of contracts over several came or went."""
    _log.info("collections changed", started=started, stopped=stopped)


def collection_left_out(contract: str, collection: str) -> None:
    """A collection of a contract over several has none, because its keys would be syncd's own."""
    _log.error(
        "collection left out: its keys would begin with syncd:", contract=contract, collection=collection
    )


def collection_gone(contract: str, collection: str, records: int, indexes: Sequence[str]) -> None:
    """A collection of a contract over several was dropped, its keys are gone, and so are its records and indexes."""
    _log.info(
        "collection gone",
        contract=contract,
        collection=collection,
        records_removed=records,
        indexes_dropped=[*indexes],
    )


def discovery_failed(why: str) -> None:
    """The collections of contracts over several could not be looked for; the next attempt is seconds away."""
    _log.warning("cannot look for collections", error=why)


def reload_failed() -> None:
    """An edit met an unexpected error; the traceback goes to the log. It is refused as well."""
    _log.exception("unexpected error in a reload, the old set runs on; please report it")


def reload_refused(problems: list[str]) -> None:
    """An edit has problems; the old set runs on."""
    RELOADS.labels("refused").inc()
    CONTRACTS_VALID.set(0)
    _log.error("contracts refused, the old set runs on", problems=problems)


def daemon_started(**details: Any) -> None:
    """The daemon is up."""
    CONTRACTS_VALID.set(1)
    _log.info("syncd started", version=__version__, **details)


def daemon_stopping(signal: str) -> None:
    """The daemon was asked to stop."""
    _log.info("stopping: finishing the batches under way", signal=signal)


def daemon_stopped() -> None:
    """Everything is committed."""
    flush_dead_letters()
    _log.info("stopped")
