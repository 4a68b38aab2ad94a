"""Writes under a session that is the contract's own: MongoDB runs each statement once, and refuses older writers.

A driver sends its retryable writes with a session id and a number, so that the server knows a repetition. Its session
ends with the process. Here both belong to the contract: a daemon that takes over sends what its predecessor may have
sent, under the same number, and what was done already is not done again. A write with a smaller number is refused,
however late it arrives.

MongoDB forgets a session that is not used for `logicalSessionTimeoutMinutes`, and with it its numbers: see `keep`. A
session belongs to the user that uses it: all daemons of a contract need the same user.
"""

from __future__ import annotations

import re
import time
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from bson.binary import Binary
from bson.int64 import Int64
from pymongo import errors as driver
from pymongo.client_session import ClientSession

from syncd.errors import FatalError, LaterNumberError, TransientError, UncertainError
from syncd.plan.values.codec import CODEC
from syncd.stores.mongo.store import MongoStore, is_transient_code, translated

MAJORITY_TIMEOUT_MS = 10_000
"""A majority that is missing for longer makes the lane wait and try again, and say so."""
REFRESH_S = 240.0
"""Well below the 30 minutes after which MongoDB forgets a session."""
_TOO_OLD = 225
_HISTORY_LOST = 217
_NEWER = re.compile(r"newer \D*?(\d+)")
_NAMESPACE = uuid.UUID("0d0f3b52-7a2e-5c35-9c39-6a1c0c9c1f5e")


def session_id(*about: str) -> uuid.UUID:
    """The same for the same contract, site and collection, in every process."""
    return uuid.uuid5(_NAMESPACE, "\0".join(about))


class ContractSession:
    """Writes of one contract, one at a time. Used by one thread."""

    def __init__(self, mongo: MongoStore, *about: str) -> None:
        self._mongo = mongo
        self._id = session_id(*about)
        self._refreshed = -REFRESH_S

    def write(
        self, database: str, command: dict[str, Any], number: int, statements: Sequence[int] = ()
    ) -> dict[str, Any]:
        """Run an insert, update (no `multi`) or delete (`limit: 1`); returns the reply, whose `writeErrors` are the
        caller's business. A statement keeps its number in `statements` (0, 1, 2, ... by itself): the pair of both
        numbers is run once.

        Raises LaterNumberError where MongoDB has seen a greater number; UncertainError where it no longer knows what
        became of this one; TransientError where the same call may be made again, and must be before a greater number.
        """
        said = {
            **command,
            "txnNumber": Int64(number),
            "writeConcern": {"w": "majority", "wtimeout": MAJORITY_TIMEOUT_MS},
        }
        if statements:
            said["stmtIds"] = list(statements)
        try:
            with translated(), self._session() as session:
                reply: dict[str, Any] = session.client[database].command(
                    said, session=session, codec_options=CODEC
                )
        except driver.InvalidOperation as error:  # a client that is closed under a lane that is left behind
            raise TransientError("mongo", f"no answer from MongoDB: {error}") from error
        except FatalError as error:
            if told := _told_by_code(*_said(error)):
                raise told from error
            raise
        _check(reply)
        return reply

    @contextmanager
    def _session(self) -> Iterator[ClientSession]:
        """A session of the driver that speaks under the contract's id.

        The driver has no way to ask for an id. What it has is the public `session_id`, which it sends as it stands
        there. The session goes back to the driver's pool, so it gets its own id back.
        """
        with self._mongo.client.start_session(causal_consistency=False) as session:
            said: Any = session.session_id
            own = said["id"]
            said["id"] = Binary.from_uuid(self._id)
            try:
                # A driver that hands out a copy would write under an id of its own, and no harm would show.
                if session.session_id["id"] != said["id"]:
                    raise FatalError("mongo", "this pymongo takes no session id; install an older one")
                yield session
            finally:
                said["id"] = own

    def keep(self) -> None:
        """To be called now and then, also while nothing is written: MongoDB must not forget the session."""
        now = time.monotonic()
        if now - self._refreshed < REFRESH_S:
            return
        with translated():
            self._mongo.client.admin.command("refreshSessions", [{"id": Binary.from_uuid(self._id)}])
        self._refreshed = now


def _said(error: FatalError) -> tuple[int | None, str]:
    """The code and the server's own words: in ours there are no long numbers."""
    cause = error.__cause__
    return (cause.code, str(cause)) if isinstance(cause, driver.OperationFailure) else (None, "")


def _told_by_code(code: int | None, text: str) -> Exception | None:
    if code == _TOO_OLD:
        # "... because a newer retryable write with txnNumber 7 has already started on this session"
        found = _NEWER.search(text)
        return LaterNumberError(int(found[1]) if found else 0)
    if code == _HISTORY_LOST:
        return UncertainError("mongo", "MongoDB no longer knows whether a write was done (its oplog went on)")
    return None


def _check(reply: dict[str, Any]) -> None:
    """Raises where the whole of it has to be sent again, or nothing of it ever."""
    errors = reply.get("writeErrors", ())
    codes = [int(error["code"]) for error in errors]
    for code, error in zip(codes, errors, strict=True):
        if told := _told_by_code(code, str(error.get("errmsg"))):
            raise told
    for code in codes:
        if is_transient_code(code):
            raise TransientError("mongo", f"MongoDB is between two states (code {code}); waiting for it")
    if concern := reply.get("writeConcernError"):
        code = concern.get("code")
        raise TransientError(
            "mongo", f"no majority of MongoDB has acknowledged a write (code {code}); waiting for it"
        )
