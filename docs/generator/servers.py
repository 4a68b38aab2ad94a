"""`servers.md`: from the types of Redis that syncd knows, what each needs, and the servers of the tests."""

from __future__ import annotations

from collections.abc import Iterator

from generator.text import code, head, table
from syncd.plan.types import NEEDS, TYPES
from syncd.stores.mongo.store import OLDEST as OLDEST_MONGO
from syncd.stores.redis.capabilities import SEARCH
from syncd.stores.redis.store import OLDEST as OLDEST_REDIS
from tests.support.servers.known_servers import MONGO, REDIS

_INTRO = """\
What a server can do is detected when syncd connects, never assumed from its version. A contract that asks for something
that the server lacks does not run; `syncd check --connect` says so with line and column, all others run.

## Redis and Valkey

From {redis} and {valkey} on; older ones are refused. A column is a server that the tests run against, and
`tests/integration/test_servers.py` asks each what it has. Redis 8 with all its modules, and Redis Stack, have
everything in the table.

"""
_BEHIND = """
Nothing else in a contract asks for more than Redis 7.0. syncd uses functions or, where these are forbidden, scripts.
Redis stands alone, has replicas and perhaps [Sentinels](../how-to/sentinel.md), or is a
[cluster](../how-to/cluster.md), which holds less. [The promises](../promises.md#the-conditions) say how it is reached,
[TLS](../how-to/tls.md) how with certificates.

## MongoDB

| server | |
| --- | --- |
| older than {mongo} | refused |
| {tested} | a replica set of any size; the tests run against these versions |
| a standalone server | refused: it has no change streams |
| a [sharded cluster](../how-to/sharded.md) | tested against real shards of {first}, behind no `mongos` |

The whole suite runs against {first}. `tests/integration/test_servers.py` runs each direction against {others},
and sees one that is too old refused. SYNCD_TEST_MONGODS names further binaries, with colons between them.
"""


def servers_page() -> str:
    """Every type, on every known server."""
    redis, valkey = (f"{name} {_shown(OLDEST_REDIS[name.lower()])}" for name in ("Redis", "Valkey"))
    text = head("Servers", "what the types need and what the servers of the tests have")
    text += _INTRO.format(redis=redis, valkey=valkey)
    text += table(("what a contract asks for", *(one.name for one in REDIS.values()), "else"), _rows())
    return text + _BEHIND.format(
        mongo=_shown(OLDEST_MONGO), tested=", ".join(MONGO), first=MONGO[0], others=" and ".join(MONGO[1:])
    )


def _rows() -> Iterator[tuple[str, ...]]:
    for name, one in TYPES.items():
        yield _row(
            code(f"type: {name}"), one.need.name if one.need else "", one.need.remedy if one.need else ""
        )
    of_types = {one.need.name for one in TYPES.values() if one.need}
    for need in NEEDS:
        if need.name not in of_types:
            yield _row(need.what, need.name, need.remedy)
    yield _row("a search index (`index`)", SEARCH, "use Redis 8, Redis Stack, or leave the index out")


def _row(what: str, need: str, remedy: str) -> tuple[str, ...]:
    return (what, *("yes" if not need or need in one.has else "no" for one in REDIS.values()), remedy)


def _shown(version: tuple[int, ...]) -> str:
    return ".".join(map(str, version))
