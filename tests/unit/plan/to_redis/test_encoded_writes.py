"""What a worker projects goes into Redis as if the lane had projected it."""

from __future__ import annotations

import json
import os
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from syncd.contract.read.load import load_contract_set
from syncd.errors import ProjectionError
from syncd.plan.keys.templates import encode_key_value
from syncd.plan.to_redis.change import Dead
from syncd.plan.to_redis.compile import Plan, compile_contract
from syncd.plan.to_redis.encoded_writes import pack, unpack, writes
from syncd.stores.redis.records.position import ControlKeys
from syncd.to_redis.apply.calls.operations import Operations
from tests.unit.plan.strategies import values

CONTRACT = """
apiVersion: syncd/v1
kind: SyncContract
metadata: {name: films, version: 1.0.0, owner: tests}
mongo: {collection: catalog.films, unique: [[n]]}
redis:
  - {projection: card, type: hash, key: "card:{_id}", fields: {a: a, n: {from: n, type: int}}, ttl: {field: until}}
  - {projection: doc, type: json, key: "doc:{_id}", fields: {a: a, mail: {from: b, mask: hmac}}}
  - {projection: text, type: string, key: "text:{_id}", value: b}
  - {projection: named, type: hash, key: "named:{n}", fields: [a]}
  - {projection: part, type: hash, key: "part:{_id}:{b.#}", each: b, fields: {a: a, b: b}}
  - {projection: element, type: json, key: "element:{_id}:{b.#}", each: b, fields: {a: a, b: b}}
"""
TIME = "0" * 15 + "7"


@pytest.fixture(scope="module")
def plan(tmp_path_factory: pytest.TempPathFactory) -> Plan:
    folder = tmp_path_factory.mktemp("contracts")
    (folder / "films.yaml").write_text(CONTRACT)
    return compile_contract(load_contract_set(folder, os.environ).contracts[0].contract, b"key")


def sent(found: list[Any]) -> tuple[list[str], list[Any], bytes, list[str]]:
    """As it goes over the wire; and what cannot."""
    operations, refused = Operations(ControlKeys("films"), "films", "1.0.0"), []
    for write in found:
        try:
            operations.add(write._replace(change={}) if isinstance(write, Dead) else write)
        except ProjectionError as error:
            refused.append(f"{write.ident} {error.reason} {error.detail}")
    # When a dead letter was written is another moment each time.
    times = {at + 1 for at, said in enumerate(operations.args) if said == "at"}
    args = [said for at, said in enumerate(operations.args) if at not in times]
    return operations.keys, args, operations.rows(), refused


def too_deep() -> Any:
    value: Any = 1
    for _ in range(200):
        value = {"a": value}
    return value


documents = st.dictionaries(
    st.integers(0, 9),
    st.fixed_dictionaries({}, optional=dict.fromkeys(("a", "b", "n", "until"), values)),
    max_size=4,
)


@given(documents)
def test_a_worker_projects_as_the_lane_does(plan: Plan, found: dict[int, dict[str, Any]]) -> None:
    """Keys, values, times to live and dead letters are the same, whichever values documents hold."""
    by_ident = {encode_key_value(n): {"_id": n, **rest} for n, rest in found.items()}
    encoded = unpack(pack(plan, by_ident, TIME))
    assert list(encoded) == list(by_ident)
    assert sent(writes(plan, encoded.items(), TIME)) == sent(plan.copies(by_ident, TIME))


def test_what_encoded_writes_keep_of_a_document(plan: Plan) -> None:
    """A document that JSON cannot hold is refused where it is written; a dead letter takes along no value."""
    found = {"1": {"_id": 1, "n": 1, "a": too_deep()}, "2": {"_id": 2, "n": "secret", "b": "secret"}}
    packed = pack(plan, found, TIME)
    both = [sent(some) for some in (writes(plan, unpack(packed).items(), TIME), plan.copies(found, TIME))]
    assert both[0] == both[1]
    assert "json_too_deep" in both[0][3][0]
    dead_letters = [said for said in unpack(packed)["2"] if isinstance(said, Dead)]
    assert dead_letters
    assert "secret" not in json.dumps(dead_letters, default=str)
