"""Rules about hashes that several projections share."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from syncd.contract.lint.keys import keys_of
from syncd.contract.read.loaded import LoadedContract
from syncd.errors import Problem


def shared_hashes_come_from_mongodb(contracts: Sequence[LoadedContract]) -> Iterator[Problem]:
    """In the other direction a hash is read as a whole."""
    for contract in contracts:
        for at, projection in contract.projections():
            path = ("redis", at, "share")
            if not (projection.share and contract.sound("sync") and contract.sound(*path)):
                continue
            if contract.contract.sync.direction != "mongo_to_redis":
                what = "`share` of a contract that does not go from MongoDB to Redis alone"
                remedy = "leave it out, or write direction: mongo_to_redis"
                yield contract.problem_at_key(path, what, remedy)


def shared_hashes_say_their_document(contracts: Sequence[LoadedContract]) -> Iterator[Problem]:
    """Of two documents that exchange a hash in one step, one would remove the fields of the other."""
    for keys in keys_of(contracts):
        if keys.projection.share and "_id" not in keys.template.paths:
            what = f"the key {keys.shown} of a shared hash does not say which document it is of"
            yield keys.problem(what, "write {_id} in it, such as user:{_id}")


RULES = (
    shared_hashes_come_from_mongodb,
    shared_hashes_say_their_document,
)
