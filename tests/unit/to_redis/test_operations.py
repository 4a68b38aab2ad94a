"""Writes as the arguments of one call: whatever cannot be encoded leaves nothing behind."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from syncd.contract.read.load import load_contract_set
from syncd.errors import ProjectionError
from syncd.plan.to_redis.change import Patch, Put
from syncd.plan.to_redis.compile import Plan, compile_contract
from syncd.stores.redis.records.position import ControlKeys
from syncd.to_redis.apply.calls.operations import Operations

CONTRACT = """
apiVersion: syncd/v1
kind: SyncContract
metadata: {name: films, version: 1.0.0, owner: tests}
mongo: {collection: catalog.films}
redis: [{projection: doc, type: json, key: "doc:{_id}", fields: [n, deep]}]
"""


@pytest.fixture
def plan(tmp_path: Path) -> Plan:
    (tmp_path / "films.yaml").write_text(CONTRACT)
    return compile_contract(load_contract_set(tmp_path, os.environ).contracts[0].contract)


def too_deep() -> Any:
    value: Any = 1
    for _ in range(200):
        value = {"a": value}
    return value


@pytest.mark.parametrize("kind", [Put, Patch])
def test_a_write_that_cannot_be_encoded_leaves_nothing(plan: Plan, kind: type) -> None:
    """Keys, operations and writes still match afterwards: else the next write would go to the wrong key."""
    shape = plan.shapes[0]
    operations = Operations(ControlKeys("films"), "films", "1.0.0")
    bad: Any
    if kind is Put:
        bad = Put(shape, "1", "doc:1", {"n": 1, "deep": too_deep()}, 0, "0")
    else:
        bad = Patch(shape, "1", "doc:1", {"deep": too_deep()}, frozenset(), 0)
    with pytest.raises(ProjectionError):
        operations.add(bad)
    assert (operations.keys, operations.args, operations.writes) == ([], [], [])
    good = Patch(shape, "2", "doc:2", {"n": 2}, frozenset(), 0)
    operations.add(good)
    assert operations.keys == ["doc:2"]
    assert operations.writes == [good]
