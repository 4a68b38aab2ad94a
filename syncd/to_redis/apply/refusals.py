"""What follows when Redis refuses a write: the document is read, or becomes a dead letter, or a person must act."""

from __future__ import annotations

from syncd.errors import FOREIGN_LOST, FatalError, SweepLimitError, TransientError
from syncd.plan.to_redis.change import (
    AnsweredDeadLetters,
    BeginMatched,
    Changed,
    Dead,
    Entry,
    Hashed,
    Judged,
    Matched,
    MatchedIsWhole,
    OpenFeed,
    Write,
)
from syncd.stores.redis.records.position import ControlKeys
from syncd.to_redis.apply.units import OF_NO_KEY, UnitCall

_WRONG_TYPE = (
    "wrong_type",
    "the key holds another Redis type, which syncd did not write; remove that key and replay",
)

_TOO_LARGE = "too large"
"""How Redis refuses an entry for what is in it; everything else is about the stream."""


def take_refusal(call: UnitCall, write: Write, reason: str, control: ControlKeys) -> None:
    """Note in the call what its next build does with this write.

    Raises FatalError where the fault is not the document's but a right that we lack, or a record of our own, and
    SweepLimitError where it is not known which of the keys that a sweep would remove are foreign.
    """
    if reason == "lost" and isinstance(write, OpenFeed | MatchedIsWhole):
        what = f"the record of the documents that {write.shape.key} has shown is lost (evicted or deleted)"
        raise TransientError("redis", f"{what}; the contract is copied again")
    if reason == "lost":
        raise SweepLimitError(control.contract, FOREIGN_LOST)
    if isinstance(write, Dead | AnsweredDeadLetters):
        raise FatalError("redis", f"{control.dead} takes no dead letter ({reason[:200]}); remove that key")
    if isinstance(write, Changed | Hashed):
        raise FatalError("redis", f"{control.changed} takes no document ({reason[:200]}); remove that key")
    if isinstance(write, Matched | BeginMatched | MatchedIsWhole):
        record = control.matched(write.shape.key)
        raise FatalError("redis", f"{record} takes no document ({reason[:200]}); remove that key")
    if isinstance(write, OpenFeed):
        what = f"{write.shape.key} is no stream, and a change feed has to write there"
        raise FatalError("redis", f"{what}; rename that key: the feed goes on where it stood")
    if isinstance(write, Entry | Judged) and _TOO_LARGE not in reason:
        what = f"{write.shape.key} takes no entry ({reason[:200]})"
        raise FatalError("redis", f"{what}; fix or rename that key: the feed goes on where it stood")
    if "NOPERM" in reason or "ACL failure" in reason:
        raise FatalError("redis", f"Redis refuses us: {reason[:200]}; fix the ACL of SYNCD_REDIS_URL's user")
    if reason == "absent":
        call.must_read.add(write.ident)
    elif not isinstance(write, OF_NO_KEY):
        word, _, key = reason.partition(" ")
        refused = ("redis_refused", f"Redis refused the write: {reason[:200]}", "")
        call.dead_letters[write.ident, write.shape.name] = (*_WRONG_TYPE, key) if word == "type" else refused
