"""Cluster times as 16 hexadecimal digits, the form that they have inside a resume token.

They sort as text, in C, and an event's time need not be sent or decoded beside its token: `bson.Timestamp` is a class
in Python and costs a microsecond for each event to make and to compare.
"""

from __future__ import annotations

from typing import Any, TypeAlias

from bson.timestamp import Timestamp

from syncd.errors import PositionLostError

Moment: TypeAlias = str
"""Eight digits of seconds, eight of the increment, upper case."""

ZERO: Moment = "0" * 16
LATEST: Moment = "F" * 16


def moment(time: Timestamp) -> Moment:
    """A Timestamp as a moment."""
    return f"{time.time:08X}{time.inc:08X}"


def timestamp(time: Moment) -> Timestamp:
    """A moment as a Timestamp."""
    return Timestamp(int(time[:8], 16), int(time[8:], 16))


def seconds(time: Moment) -> int:
    """Whole seconds since 1970."""
    return int(time[:8], 16)


def readable(time: Moment) -> str:
    """Seconds and increment, "1700000000:1"."""
    return f"{seconds(time)}:{int(time[8:], 16)}"


def parse(text: str) -> Moment:
    """The reverse of `readable`. Raises ValueError."""
    first, _, second = text.partition(":")
    return moment(Timestamp(int(first), int(second)))


def token_time(token: dict[str, Any]) -> Moment:
    """The cluster time inside a resume token, also that of an event by its `_id`.

    `_data` is a hex KeyString that begins with the type byte 0x82 (timestamp), then seconds and increment as four
    bytes each, big-endian (MongoDB server, `src/mongo/db/pipeline/resume_token.h`).
    """
    data: str = token["_data"]
    if data[:2] != "82":
        raise PositionLostError(
            "mongo", "the stored resume token is not one of MongoDB's; a new snapshot is needed"
        )
    return data[2:18]


def just_before(time: Moment) -> Moment:
    """The latest time below `time`.

    A token that stands for no event (a high-water mark) lies before all events of its time, and the one that a new
    stream begins with is even one step ahead of the server's own time.
    """
    return f"{int(time, 16) - 1:016X}"


def is_high_water_mark(token: dict[str, Any]) -> bool:
    """Whether a token stands for no event: then a stream over any collection can begin behind it.

    After the time come the version (type byte 0x2B and a byte) and the kind of token: 0x29, a zero, for these.
    """
    data: str = token["_data"]
    return data[18:20] == "2B" and data[22:24] == "29"


def token_at(token: dict[str, Any], time: Moment) -> dict[str, Any]:
    """The high-water mark of another time: it lies before all events of that time."""
    data: str = token["_data"]
    return {"_data": data[:2] + time + data[18:]}
