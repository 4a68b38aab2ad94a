"""The JSON Schema that editors use."""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from syncd.contract.model.contract import Contract
from syncd.contract.model.schema import contract_schema
from syncd.contract.read.yaml import read_source
from tests.unit.contract.json_schema import valid

EXAMPLE = Path(__file__).parents[1] / "example.yaml"
SCHEMA = contract_schema()


@pytest.fixture
def example() -> dict[str, Any]:
    """The values of the example in the documentation."""
    source, _ = read_source("example.yaml", EXAMPLE.read_bytes(), {})
    assert source is not None
    return copy.deepcopy(dict(source.value))


def members(schema: Any) -> Iterator[Any]:
    """Every schema in a schema."""
    if isinstance(schema, dict):
        yield schema
    for item in schema.values() if isinstance(schema, dict) else schema if isinstance(schema, list) else ():
        yield from members(item)


def test_it_says_which_draft_it_is() -> None:
    """And it is JSON."""
    assert json.loads(json.dumps(SCHEMA))["$schema"] == "https://json-schema.org/draft/2020-12/schema"


def test_the_example_is_valid(example: dict[str, Any]) -> None:
    """With short and long forms of fields."""
    assert valid(SCHEMA, example)


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("redis", 0, "fields"), ["title", "year"]),
        (("redis", 0, "fields"), "all"),
        (("redis", 0, "ttl"), {"field": "expires_at"}),
        (("redis", 0, "ttl"), "${TTL:-30d}"),
        (("redis", 1, "index", "fields", 2, "attrs", "dims"), "${DIMS}"),
        (("redis", 0), {"projection": "title", "type": "string", "key": "t:{_id}", "value": "title"}),
        (("mongo", "filter"), {"a": {"$oid": "65a1f00d65a1f00d65a1f00d"}}),
        (("mongo", "unique"), [["slug"]]),
        (("metadata", "version"), "${VERSION}"),
    ],
)
def test_what_loads_is_valid(example: dict[str, Any], path: tuple[str | int, ...], value: Any) -> None:
    """An editor underlines nothing that `syncd check` takes."""
    put(example, path, value)
    assert valid(SCHEMA, example)


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("redis", 0, "colour"), 1),
        (("redis", 0, "whole"), True),
        (("redis", 0, "type"), "hsh"),
        (("redis", 0, "ttl"), "5 minutes"),
        (("redis", 0, "ttl"), 5),
        (("redis", 0, "fields"), "al"),
        (("redis", 0, "fields"), []),
        (("redis", 0, "fields", "year"), {"from": "year", "type": "integer"}),
        (("redis", 0, "fields", "year"), 5),
        (("redis", 1, "index", "fields", 0), {"name": "title", "type": "txt"}),
        (("redis", 1, "index", "fields", 2, "attrs", "dims"), 0),
        (("redis", 1, "index", "fields", 1, "attrs"), {"dims": 3}),
        (("redis",), []),
        (("metadata", "name"), "Movies"),
        (("metadata",), {"name": "movies"}),
        (("slo", "freshness"), "5"),
        (("apiVersion",), "syncd/v2"),
    ],
)
def test_what_does_not_load_is_not_valid(
    example: dict[str, Any], path: tuple[str | int, ...], value: Any
) -> None:
    """Where a schema can say so."""
    put(example, path, value)
    assert not valid(SCHEMA, example)


def test_every_key_of_the_model_is_in_it() -> None:
    """With its description, where it has one."""
    plain = Contract.model_json_schema(by_alias=True)
    for name, definition in [*plain["$defs"].items(), ("", plain)]:
        ours = SCHEMA["$defs"][name] if name else SCHEMA
        properties = {key: value for key, value in definition["properties"].items() if key != "whole"}
        assert ours["properties"].keys() == properties.keys()
        for key, value in properties.items():
            assert ours["properties"][key].get("description") == value.get("description")


def test_a_variable_may_stand_for_whatever_is_narrower_than_text() -> None:
    """Numbers, words and patterns; only `kind` and the like are constant."""
    alone = [one for one in members(SCHEMA["properties"]) if one.get("type") in ("integer", "boolean")]
    assert alone == []
    assert valid(SCHEMA["$defs"]["TextAttrs"], {"sortable": "${SORT}", "weight": "${W:-2}"}, SCHEMA)
    assert not valid(SCHEMA["$defs"]["TextAttrs"], {"sortable": "yes"}, SCHEMA)


def put(value: Any, path: tuple[str | int, ...], new: Any) -> None:
    for part in path[:-1]:
        value = value[part]
    value[path[-1]] = new
