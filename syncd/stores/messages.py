"""What servers and drivers say, without what they quote: values, ids and resume tokens stay out of logs and errors."""

from __future__ import annotations

import re
from concurrent.futures import BrokenExecutor

from pymongo import errors as mongo
from redis import exceptions as redis

from syncd.errors import SyncdError
from syncd.text import clipped, escaped, without_secrets

_LONGEST = 400
_VALUES_FOLLOW = re.compile(
    r", full error|, Topology Description|, with args beginning with|\s*[Ff]irst element|\s*dup key| *[{\[]"
)
"""Where a server begins to quote the command, the document, the token or the key that it is about."""
_NAMED = re.compile(r"(?:command|run the) ['`\"]$")
_QUOTED = re.compile(r"""(?<![A-Za-z0-9])(['"`])(.*?)\1""", re.DOTALL)
_OPERATOR = re.compile(r"\$[A-Za-z]+")
_LONG_NUMBER = re.compile(r"\b[0-9A-Fa-f]{16,}\b")


def of_server(text: str) -> str:
    """An error reply: the sentence, without the values in it. Names of commands and operators stay."""
    sentence = _VALUES_FOLLOW.split(text, maxsplit=1)[0]
    sentence = _QUOTED.sub(_without_value, sentence)
    return clipped(escaped(_LONG_NUMBER.sub("...", sentence)), _LONGEST).strip(" :,")


def _without_value(match: re.Match[str]) -> str:
    named = _NAMED.search(match.string[: match.start() + 1]) and re.fullmatch(r"[\w.|-]{1,40}", match[2])
    if named or _OPERATOR.fullmatch(match[2]):
        return match[0]
    return f"{match[1]}...{match[1]}"


def of_mongo(error: mongo.PyMongoError) -> str:
    """An error of MongoDB or its driver."""
    if isinstance(error, mongo.OperationFailure):
        return of_server(str(error))
    return of_network(str(error))


def of_redis(error: redis.RedisError) -> str:
    """An error of Redis or its driver."""
    if isinstance(error, redis.InvalidResponse):
        return "an answer that is none of Redis"  # the driver quotes it
    if isinstance(error, redis.ConnectionError | redis.TimeoutError):
        return of_network(str(error))
    return of_server(str(error))


def of_network(text: str) -> str:
    """What was said of a connection: hosts and reasons."""
    return clipped(
        escaped(without_secrets(text).split(", Topology Description")[0].split(", full error")[0]), _LONGEST
    )


def described(error: BaseException) -> str:
    """An error of any kind in a line. What an unknown one says may hold values, so its name must do."""
    if isinstance(error, SyncdError):
        return f"{type(error).__name__}: {escaped(str(error))}"
    if isinstance(error, mongo.PyMongoError):
        return f"{type(error).__name__}: {of_mongo(error)}"
    if isinstance(error, redis.RedisError):
        return f"{type(error).__name__}: {of_redis(error)}"
    if isinstance(error, OSError | BrokenExecutor):
        return f"{type(error).__name__}: {of_network(str(error))}"
    return type(error).__name__
