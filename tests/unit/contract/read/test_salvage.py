"""A value with a mistake takes no other mistake of its file along."""

from __future__ import annotations

from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.unit.contract.contracts import told
from tests.unit.contract.keys import CARD, OTHER, Key, contract_keys, put
from tests.unit.contract.keys import CONTRACT as WHOLE

CONTRACT: dict[str, Any] = {
    **WHOLE,
    "mongo": {"collection": "shop.films", "filter": {"$where": "1"}},
    "redis": [CARD, {"projection": "other", "type": "hash", "key": "other:{_id", "fields": ["a"]}],
    "sync": {"dead_letters": {}},
    "reconcile": {},
}
"""With two mistakes that only the checks find."""
OF_THE_FILTER, OF_THE_KEY = "`$where`", "a `{` that is not closed"
AROUND: dict[Key, Any] = {
    ("mongo", "with"): {"other": OTHER},
    ("mongo", "timeseries"): {"time_field": "at"},
    ("redis", "*", "value"): {"from": "a"},
    ("redis", "*", "keep"): {"first": 1},
    ("redis", "*", "fields", "*", "ttl"): {"field": "until"},
    ("redis", "*", "vector"): {"from": "a", "dims": 2},
    ("redis", "*", "expire"): {"field": "until"},
    ("sync", "authority"): {},
}
"""What holds further keys, and has no place in this contract."""
NO_VALUE = [[1]]
"""Which is none of any key."""


def test_the_two_mistakes_are_told(tmp_path: Path) -> None:
    """Of a file without another one."""
    said = told(tmp_path, yaml.safe_dump(CONTRACT, sort_keys=False))
    assert len(said) == 2
    assert OF_THE_FILTER in said[0]
    assert OF_THE_KEY in said[1]


@pytest.mark.parametrize("key", contract_keys(), ids=".".join)
def test_every_key_has_a_stand_in(key: Key, tmp_path: Path) -> None:
    """Whatever key holds what it cannot: the mistakes elsewhere in the file are told as well."""
    contract = deepcopy(CONTRACT)
    for path, value in AROUND.items():
        if key[: len(path)] == path:
            put(contract, path, deepcopy(value))
    put(contract, key, NO_VALUE)
    said = "\n".join(told(tmp_path, yaml.safe_dump(contract, sort_keys=False)))
    assert OF_THE_FILTER in said or key in (("mongo",), ("mongo", "filter")), said
    assert OF_THE_KEY in said or key == ("redis",), said


@pytest.mark.parametrize("key", [key for key in contract_keys() if key[:1] == ("reconcile",)], ids=".".join)
def test_a_comparison_with_a_mistake_is_told_once(key: Key, tmp_path: Path) -> None:
    """No rule speaks about what only stands in for it."""
    contract = deepcopy(CONTRACT)
    put(contract, key, NO_VALUE)
    said = told(tmp_path, yaml.safe_dump(contract, sort_keys=False))
    assert len(said) == 3
