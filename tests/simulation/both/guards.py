"""Guards of contracts that go both ways, to be put out of action one by one."""

from __future__ import annotations

from typing import Any

from tests.simulation.guards.keys import Guard, always

_COMPARED = "  if present ~= expected then return last + 1, 0 end\n"
_REQUEST = "tonumber(redis.call('ZSCORE', keys[3], key)) == tonumber(request)"


def _whatever_it_is(before: Any) -> Any:
    """A document is written whatever it is by now."""
    return lambda self, update, stored: {"_id": {"$eq": update.id}}


def _without_number(before: Any) -> Any:
    """A write that MongoDB takes however late it comes."""

    def write(self: Any, database: str, command: Any, number: int, statements: Any = ()) -> Any:
        with self._session() as session:
            return self._mongo.client[database].command(command, session=session)

    return write


BOTH_GUARDS = (
    Guard(
        "both ways: what is about to be written to MongoDB is kept before", 62, "nothing_lost", way="both",
        python="syncd.both.store:TwoWayStore.keep", instead=always(None),
    ),
    Guard(
        "both ways: the key is compared before it is written", 0, "nothing_lost", way="both",
        lua=((_COMPARED, ""),),
    ),
    Guard(
        "both ways: the document is compared before it is written", 3, "nothing_lost", way="both",
        python="syncd.both.document_writer:DocumentWriter._as_read", instead=_whatever_it_is,
    ),
    Guard(
        "both ways: only the merge request that was seen is removed", 27, "nothing_lost", way="both",
        lua=((_REQUEST, "true"),),
    ),
    Guard(
        "both ways: writes to MongoDB have a number", 458, "fenced", way="both",
        python="syncd.to_mongo.session:ContractSession.write", instead=_without_number,
    ),
)  # fmt: skip
