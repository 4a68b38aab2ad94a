"""Why a key is not there, as far as it can be known. Pure."""

from __future__ import annotations

from enum import StrEnum


class Gone(StrEnum):
    """The last event of Redis about a key that is not there."""

    NO_WORD = ""
    DELETED = "deleted"
    EXPIRED = "expired"
    EVICTED = "evicted"


CERTAIN = Gone.EXPIRED, Gone.EVICTED
"""What no event says of a key that goes to another node of a cluster."""


def is_deletion(gone: Gone, on_expire: str) -> bool:
    """Whether the document of such a key goes as well. `on_expire` as the contract says it."""
    return gone == Gone.DELETED or (gone == Gone.EXPIRED and on_expire == "delete")


def why_gone(expires: int, now: int, policy: str) -> Gone:
    """For a key without an event, decided by its last state. `expires` and `now` in epoch milliseconds; -1 where the
    key had no expiry. `policy` is how this Redis evicts keys."""
    if 0 <= expires <= now:
        return Gone.EXPIRED
    evicts = policy != "noeviction" and (expires >= 0 or not policy.startswith("volatile"))
    return Gone.EVICTED if evicts else Gone.DELETED
