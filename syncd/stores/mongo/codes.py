"""Error codes of the MongoDB server, by what they mean for the caller.

Source: `src/mongo/base/error_codes.yml` of the server, versions 6.0 to 8.2, and the change-stream and retryable-writes
specifications of the drivers. A label that the server attaches counts as much as a code; one that is in no list is
reported as an error, and tried again with growing pauses.
"""

from __future__ import annotations

TRANSIENT_LABELS = (
    "ResumableChangeStreamError",
    "RetryableWriteError",
    "TransientTransactionError",
    "RetryableError",
    "SystemOverloadedError",
    "NetworkError",
)
"""What a server or a driver says of an error that passes by itself."""

_NETWORK = {6, 7, 89, 145, 190, 202, 230, 231, 317, 384, 9001}
"""NetworkError, NetworkTimeoutError: between the servers of a deployment."""
_ELECTION = {91, 133, 149, 189, 199, 216, 333, 10058, 10107, 11600, 11602, 13435, 13436, 56846}
"""NotPrimaryError, ShutdownError, and no member that fits."""
_INTERRUPTED = {
    24,
    50,
    90,
    143,
    194,
    237,
    262,
    279,
    281,
    282,
    290,
    310,
    312,
    355,
    407,
    453,
    11601,
    46841,
    91331,
    10045600,
}
"""Interruption, CancellationError, ExceededTimeLimitError."""
_CURSOR = {43, 96, 136, 175, 222, 234, 314, 348, 401}
"""CursorInvalidatedError, and change streams that a driver opens again."""
_SNAPSHOT = {134, 239, 246, 250, 272}
"""SnapshotError: the moment is too old, or not there yet."""
_BUSY = {
    46, 107, 112, 117, 200, 208, 215, 264, 267, 285, 319, 338, 341, 342, 343, 364, 365, 371, 385, 388, 402, 406, 412,
    414, 433, 449, 450, 462, 12586, 12587, 14031, 50915,
}  # fmt: skip
"""Locks and conflicts, writes that are blocked, storage that is full or being backed up, SystemOverloadedError."""
_ROUTING = {63, 64, 150, 249, 308, 358, 363, 369, 383, 13388}
"""StaleShardVersionError, NeedRetargettingError, and a majority that has not answered yet."""
_SESSION = {238, 303, 372, 391, 398}
"""CloseConnectionError, a session that has to authenticate again, and what a mixed-version deployment lacks a while."""

TRANSIENT = frozenset(_NETWORK | _ELECTION | _INTERRUPTED | _CURSOR | _SNAPSHOT | _BUSY | _ROUTING | _SESSION)
"""Codes that pass by themselves."""

LOST = {
    260: "InvalidResumeToken",
    280: "ChangeStreamFatalError",
    464: "ChangeStreamStartAfterNotFound",
    50811: "the token names a moment that this server does not know",
}
"""A change stream cannot go on from its position."""
OPLOG_TOO_SHORT = 286
EVENT_TOO_LARGE = 10334
IS_A_VIEW = frozenset({166, 167, 169})
OTHER_SHARD_KEY = frozenset({61, 31025})
"""ShardKeyNotFound, and a shard key that a write changes without naming it: what is sharded by `_id` has neither."""
NOT_IN_AN_AGGREGATION = 168
"""A `find` on a view or a time series becomes an aggregation, which does not know every option."""
INTERNAL_NAMESPACE = 73
UNAUTHORIZED = 13
AUTHENTICATION = frozenset({11, UNAUTHORIZED, 18, 334})
TOO_LONG = 50
SNAPSHOT_UNAVAILABLE = 246

SCHEMA = 121
OF_A_DOCUMENT = {
    2: "BadValue", 9: "FailedToParse", 14: "TypeMismatch", 15: "Overflow", 16: "InvalidLength", 22: "InvalidBSON",
    28: "PathNotViable", 40: "ConflictingUpdateOperators", 52: "DollarPrefixedFieldName", 53: "InvalidIdField",
    54: "NotSingleValueField", 55: "InvalidDBRef", 56: "EmptyFieldName", 57: "DottedFieldName", 66: "ImmutableField",
    67: "CannotCreateIndex", 171: "CannotIndexParallelArrays", 241: "ConversionFailure",
    10334: "BSONObjectTooLarge", 13026: "no point", 13027: "a point out of range", 16755: "no geometry",
    16804: "no point", 17280: "KeyTooLong",
}  # fmt: skip
"""Refusals that only this document meets. Source: `src/mongo/base/error_codes.yml`, and the geo indexes."""
_LOCATION = 10_000
"""From here on a code is a place in MongoDB's own code that did not like what it was given. What is refused
whatever it is about has a smaller one, and a name."""


def is_about_document(code: int) -> bool:
    """Whether only what was written, or asked for, meets this error."""
    return code in OF_A_DOCUMENT or code == SCHEMA or (code >= _LOCATION and code not in TRANSIENT)
