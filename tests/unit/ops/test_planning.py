"""What taking up an edit means, by what Redis says of the contract that runs; and how large a key is."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import orjson
import pytest

from syncd.ops.planning.decide import Action, action_of, going
from syncd.ops.planning.running import Running
from syncd.plan.base import ContractPlan
from syncd.plan.claims import claims_of
from syncd.plan.kinds import compile_any
from syncd.plan.stream_plan import StreamPlan
from syncd.plan.to_mongo.state import StatePlan
from syncd.plan.types import size_of
from syncd.stores.redis.records.position import Position
from tests.support.contracts import from_redis, model, projection

CARD = projection(["a"], key="card:{_id}")
FEED = projection(["a"], name="feed", type="stream", key="changes")
ENTRIES = projection({"a": "a"}, name="event", type="stream", key="in")
OUTBOX, KEYSPACE = from_redis("outbox"), from_redis("keyspace")


def compiled(*projections: dict[str, Any], **more: Any) -> ContractPlan:
    return compile_any(model(*projections, **more), None)


def runs(plan: ContractPlan) -> Running:
    """As Redis keeps a contract that is live."""
    positions, state = [], ("", "")
    if isinstance(plan, StreamPlan):
        positions = [Position(token={}, fingerprint=plan.fingerprint, owned=plan.owned)]
    elif isinstance(plan, StatePlan):
        state = plan.fingerprint, f"{plan.contract.collection} {plan.template.text}"
    return Running(plan.name, None, plan.contract, "", positions, claims_of(plan).kind, state)


def record(plan: ContractPlan, **more: Any) -> dict[str, Any]:
    """The claims of one contract in Redis."""
    return {claim.name: {"contract": plan.name, **more} for claim in claims_of(plan).claims}


OTHERS: dict[str, Any] = {
    "nothing": ((CARD,), {}, (CARD,), {}, Action.SAME),
    "a check": ((CARD,), {}, (CARD,), {"reconcile": {"every": "1h"}}, Action.GOES_ON),
    "who reads": ((CARD,), {}, (CARD,), {"consumers": [{"team": "web", "reads": {"card": "all"}}]}, Action.GOES_ON),
    "a freshness": ((CARD,), {}, (CARD,), {"slo": {"freshness": "5s"}}, Action.RESTART),
    "a field": ((CARD,), {}, (projection(["a", "b"], key="card:{_id}"),), {}, Action.COPY),
    "a key": ((CARD,), {}, (projection(["a"], key="tile:{_id}"),), {}, Action.COPY),
    "a feed": ((FEED,), {}, (projection(["b"], name="feed", type="stream", key="changes"),), {}, Action.RESTART),
    "entries": ((ENTRIES,), {"sync": from_redis("append")},
                (projection({"b": "b"}, name="event", type="stream", key="in"),), {"sync": from_redis("append")},
                Action.RESTART),
    "what becomes of keys": ((CARD,), {"sync": OUTBOX}, (CARD,), {"sync": {**OUTBOX, "on_delete": "ignore"}},
                             Action.RESTART),
    "what becomes of keys that are heard": ((CARD,), {"sync": KEYSPACE},
                                            (CARD,), {"sync": {**KEYSPACE, "on_delete": "ignore"}}, Action.KEYS),
    "the direction": ((CARD,), {}, (CARD,), {"sync": KEYSPACE}, Action.KEYS),
    "the direction, with an outbox": ((CARD,), {}, (CARD,), {"sync": OUTBOX}, Action.RESTART),
    "the direction back": ((CARD,), {"sync": OUTBOX}, (CARD,), {}, Action.COPY),
}  # fmt: skip


@pytest.mark.parametrize("name", OTHERS)
def test_an_edit_means_what_a_lane_makes_of_it(name: str) -> None:
    """By the fingerprint, the direction and the kind of the contract."""
    before, said, after, edited, action = OTHERS[name]
    old, new = compiled(*before, **said), compiled(*after, **edited)
    assert action_of(new, old, runs(old), record(old)) is action


def test_what_redis_knows_counts() -> None:
    """A position that is lost, a template that was another's, or a contract that left and comes back: a copy."""
    plan = compiled(CARD)
    now = runs(plan)
    assert action_of(plan, plan, replace(now, kind="", positions=[]), {}) is Action.BEGINS
    assert action_of(plan, plan, replace(now, positions=[Position()]), record(plan)) is Action.COPY
    assert action_of(plan, plan, now, {}) is Action.COPY
    assert action_of(plan, plan, now, record(plan, free=True)) is Action.COPY
    assert action_of(plan, plan, now, record(plan, contract="other")) is Action.COPY
    assert action_of(plan, None, now, record(plan)) is Action.RESTART


def test_keys_of_old_templates_go_unless_another_contract_takes_them() -> None:
    """As at the end of a copy."""
    old, new = compiled(CARD), compiled(projection(["a"], key="tile:{_id}"))
    assert [one.template.text for one in going(new, runs(old))] == ["card:{_id}"]
    taken = replace(new, templates=(("other", "card:{_id}"),))
    assert going(taken, runs(old)) == []
    assert going(compiled(CARD, sync=OUTBOX), runs(old)) == []


X = b"x"
MEASURED: dict[str, tuple[str, list[bytes], int, int]] = {
    "a small hash": ("hash", [b"title", 20 * X], 0, 80),
    "with an expiry": ("hash", [b"a", b"b"], 1, 64),
    "a large value": ("hash", [b"title", 500 * X], 0, 672),
    "eight fields": ("hash", [part for n in range(8) for part in (b"f%d" % n, 100 * X)], 0, 1312),
    "a short string": ("string", [10 * X], 0, 48),
    "a number": ("string", [b"12345"], 0, 40),
    "a string": ("string", [100 * X], 0, 152),
    "a list": ("list", [100 * X + b"%d" % n for n in range(10)], 0, 1320),
    "a set": ("set", [20 * X + b"%d" % n for n in range(10)], 0, 296),
    "a sorted set": ("zset", [part for n in range(10) for part in (20 * X + b"%d" % n, b"%d" % n)], 0, 360),
    "JSON": ("ReJSON-RL", [b'{"title":"film 7 xxxxxxx","year":1907,"tags":["a","t7"]}'], 0, 282),
    "nested JSON": ("ReJSON-RL", [b'{"a":{"b":1}}'], 0, 290),
    "a vector": ("ReJSON-RL", [orjson.dumps({"v": [0.25 * n for n in range(384)]})], 0, 13_497),
}
"""As MEMORY USAGE of Redis 8.2.3, with RedisJSON 2.8, says of a key of 14 bytes."""


@pytest.mark.parametrize("name", MEASURED)
def test_a_key_is_as_large_as_redis_says(name: str) -> None:
    """Small ones are one text, larger ones a table."""
    kind, parts, ttl, memory = MEASURED[name]
    found = size_of(kind, 14 * "k", parts, ttl, in_one_piece=True)
    assert found == (14 + sum(map(len, parts)), memory)


def test_before_redis_8_2_a_name_is_a_piece_of_its_own() -> None:
    """Which costs some bytes more."""
    sizes = [size_of("hash", "card:1", [b"a", b"b"], 0, in_one_piece=one).memory for one in (True, False)]
    assert sizes[0] < sizes[1] < 2 * sizes[0]
