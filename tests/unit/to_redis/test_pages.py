"""A page of joined documents: what it reads, and at which moment (nothing_lost, never_backwards)."""

from __future__ import annotations

from typing import Any

import pytest

from syncd.plan.keys.templates import encode_key_value
from syncd.plan.to_redis.change import Put
from syncd.plan.to_redis.compile import compile_contract
from syncd.stores.mongo.reads.lookup import Found
from syncd.stores.mongo.times import Moment
from syncd.stores.redis.records.position import Position
from syncd.stores.redis.records.refreshes import JoinedPosition, Refresh
from syncd.to_redis.apply.apply_log import ApplyLog, Do
from syncd.to_redis.apply.key_builder import KeyBuilder
from syncd.to_redis.apply.units import Unit
from syncd.to_redis.joins.units import PageUnit
from tests.support.contracts import model, projection

JOIN = {"customer": {"collection": "shop.customers", "on": {"customer_id": "_id"}, "fields": ["name"]}}
PLAN = compile_contract(
    model(projection({"name": "customer.name"}), mongo={"collection": "shop.orders", "with": JOIN})
)
TOKENS = {"shop.customers": {"_data": "82"}}
NAMED = ("customer", encode_key_value(7))


def at(seconds: int) -> Moment:
    return f"{seconds:08X}00000001"


class Earliest:
    """Documents as of every moment. It answers each read as of the earliest that it may: so does a primary that was
    elected a moment ago, and does not know yet how far a majority is."""

    def __init__(self, *names: tuple[Moment, str]) -> None:
        """What the customer of the one order was called, from when on."""
        self._names = names

    def page(
        self, ident: str, after: str | None, upto: str | None, most: int, since: Moment
    ) -> tuple[list[str], Moment, bool]:
        return [encode_key_value(1)], since, True

    def by_ids(self, ids: list[Any], after: Moment) -> Found:
        name = [name for time, name in self._names if time <= after][-1]
        return Found(
            {encode_key_value(one): {"_id": one, "customer": {"name": name}} for one in ids}, after, True
        )


@pytest.mark.parametrize(("horizon", "name"), [(3, "of 5"), (9, "of 9")])
def test_a_page_is_read_at_the_changes_that_it_answers_or_later(horizon: int, name: str) -> None:
    """nothing_lost, never_backwards: a customer changed at 5, and Redis shows nothing, or something, that is later. Its
    order is read as of then, not as an earlier moment has it, and is done with."""
    documents: Any = Earliest((at(0), "of 0"), (at(5), "of 5"), (at(9), "of 9"))
    joined = JoinedPosition(TOKENS, at(5), {NAMED: Refresh(at(5))})
    log: ApplyLog[Unit, Any] = ApplyLog(Position(time=at(1), read_watermark=at(horizon), joined=joined))
    builder = KeyBuilder(PLAN, documents, log.watermarks)
    log.add(PageUnit(builder, log, {"customer": documents}, 10))
    step = log.next()
    assert step is not None
    do, call = step
    draft = call.work.build(call)
    assert do is Do.BUILD
    assert draft is not None
    (put,) = draft.writes
    assert isinstance(put, Put)
    assert put.content == (name,)
    assert draft.covers.read_time == at(max(5, horizon))
    assert call.work.after(log.position).joined.pending == {}
