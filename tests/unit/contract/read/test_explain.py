"""What the model refuses, in words: one problem for one mistake, with place and remedy."""

from __future__ import annotations

from pathlib import Path
from typing import get_args

import pytest

from syncd.contract.model.redis.projection import Projection
from syncd.contract.model.redis.redis_types import RedisType
from tests.unit.contract.contracts import CARD, contract, projection, told

KEYS = ", ".join(field.alias or name for name, field in Projection.model_fields.items() if not field.exclude)
"""Of a projection."""
TYPES = ", ".join(get_args(RedisType))


def member(line: str) -> str:
    """A projection with one more member on line 13."""
    return contract(f"{CARD}    {line}\n")


def field(spec: str) -> str:
    """A projection with a field `a` whose details begin on line 12, column 17."""
    return contract(projection(f"{{a: {spec}}}"))


def entry(text: str) -> str:
    """An index with one entry, on line 16."""
    return contract(projection("all", type="json", index=text))


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        # Keys
        (member("tll: 3d"), "13:5: unknown key `tll`; did you mean `ttl`? "
                            f"known keys are {KEYS}"),
        (member("whole: true"), "13:5: unknown key `whole`; write `fields: all` for the whole document"),
        (member("owner: x"), "13:5: unknown key `owner`; "
                             f"known keys are {KEYS}"),
        (contract(CARD.replace("key:", "kye:")),
         "11:5: unknown key `kye`; did you mean `key`? "
         f"known keys are {KEYS}"),
        (contract().replace("  owner: discovery-team\n", ""),
         "4:3: missing key `owner` in `metadata`; add it: The team to ask"),
        (contract(CARD.replace("    type: hash\n", "")),
         "9:5: missing key `type` in an entry of `redis`; "
         "add it: What the key holds. `set`, `zset` and `list` hold an array; `stream` is for `append`, "
         "and towards Redis a change feed"),
        (contract().replace("kind: SyncContract\n", ""),
         "1:1: missing key `kind` in the contract; add it: Always SyncContract"),
        (contract().replace("apiVersion", "api_version"),
         "1:1: unknown key `api_version`; did you mean `apiVersion`? "
         "known keys are apiVersion, kind, metadata, mongo, redis, sync, slo, reconcile, consumers, tests"),
        # Values
        (contract().replace("syncd/v1", "syncd/v2"),
         "1:13: `apiVersion` cannot be `syncd/v2`; write syncd/v1, the version that this syncd reads"),
        (contract(CARD.replace("hash", "hsh")),
         f"10:11: `type` cannot be `hsh`; did you mean `hash`? allowed are {TYPES}"),
        (contract().replace("1.2.0", "1.2"), '5:12: `version` must be text, and `1.2` is not; put it in quotes: "1.2"'),
        (contract().replace("1.2.0", "v1"),
         "5:12: `v1` cannot be a `version`; expected: Semantic version of the contract, such as 1.2.0"),
        (contract().replace("discovery-team", "''"), "6:10: `owner` is empty; expected: The team to ask"),
        (contract(name="a" * 64), "4:9: `name` is too long; write at most 63 characters"),
        (contract(mongo="collection: [a]"),
         "7:22: not a database and a collection: `a`; "
         "write both with a dot between, such as tenant_*.users"),
        (member("ttl: 5"), "13:10: not a duration: `5`; write a number and a unit (ms, s, m, h, d, w), such as 30d"),
        (member("ttl: 0s"), "13:10: a duration of zero: `0s`; "
                            "leave the key out, or write a duration above zero"),
        (member("ttl: {field: a..b}"), "13:18: not a field path: `a..b`; "
                                       "write names joined by dots, such as release.year"),
        (member("ttl: {fields: a}"), "13:11: unknown key `fields`; did you mean `field`? known keys are field"),
        (member("ttl: [1]"), "13:10: not a duration; write a number and a unit (ms, s, m, h, d, w), such as 30d"),
        # Shapes
        (contract("  - 5\n"), "9:5: an entry of `redis` must be a mapping, not `5`; write `key: value` lines; "
                              f"the keys are {KEYS}"),
        (contract("  a: 1\n"), "9:3: `redis` must be a list, not a mapping; "
                               "begin every entry with `- `, or write them in [ ]"),
        (contract("  []\n"), "9:3: `redis` is empty; expected: The shapes of each document in Redis, at most 100"),
        (contract(projection("al")), "12:13: not a form of `fields`: `al`; "
                                     "write {title: title}, [title, year], or all"),
        (contract(projection("[a, [b]]")), "12:13: not a form of `fields`; "
                                           "write {title: title}, [title, year], or all"),
        (contract(projection("[]")), "12:5: `fields` is empty; name at least one field"),
        (contract(CARD.replace("    fields: {title: title}\n", "")),
         "9:5: no `fields`; name them, or write `fields: all` for the whole document"),
        (contract(mongo="collection: a.b, filter: [1]"),
         "7:34: `filter` must be a mapping, not a list; write `key: value` lines, or {key: value}"),
        ("5", "1:1: the contract must be a mapping, not `5`; write `key: value` lines; "
              "the keys are apiVersion, kind, metadata, mongo, redis, sync, slo, reconcile, consumers, tests"),
        # Fields
        (field("5"), "12:17: `a` must be a mapping, not `5`; write `key: value` lines; "
                     "the keys are from, expr, type, dims, datatype, round, on_error, mask, null, ttl"),
        (field("x..y"), "12:17: not a field path: `x..y`; write names joined by dots, such as release.year"),
        (contract(projection("[a, b.$c]")),
         "12:17: not a field path: `b.$c`; write names joined by dots, such as release.year"),
        (field("{}"), "12:17: a field needs exactly one of `from` and `expr`; name a path, or give an expression"),
        (field("{from: a, type: txt}"), "12:33: `type` cannot be `txt`; "
                                        "allowed are string, int, long, double, decimal, bool, "
                                        "date, epoch, epoch_ms, epoch_us, objectId, uuid, binary, json, vector, geo"),
        (field("{from: a, null: drop}"), "12:33: `null` cannot be `drop`; write keep or omit"),
        (field("{from: a, datatype: float16}"), "12:27: `datatype` is for vectors; "
                                                "leave it out, or write type: vector and dims"),
        (field("{from: a, type: vector}"), "12:27: `type: vector` and `dims` go together; "
                                           "write {from: path, type: vector, dims: 384}"),
        (field("{from: a, type: vector, dims: 0}"), "12:47: `dims` cannot be `0`; write a number of at least 1"),
        (field("{from: a, type: vector, dims: x}"), "12:47: `dims` must be a whole number, not `x`; "
                                                    "write a whole number, such as 384"),
        (contract(projection("{a: {from: a, ttl: {field: b}}}", type="json")),
         "9:5: a json has no fields that expire; leave out their `ttl`, or write type: hash"),
        (field("{from: a, ttl: 5m}"), "12:32: `ttl` must be a mapping, not `5m`; write `key: value` lines; "
                                      "the keys are field"),
        # Indexes
        (entry("{name: a, type: txt}"),
         "16:27: `type` cannot be `txt`; did you mean `text`? allowed are text, tag, numeric, geo, vector"),
        (entry("{name: a}"), "16:11: missing key `type` in an entry of `fields`; "
                             "add it: one of text, tag, numeric, geo, vector"),
        (entry("5"), "16:11: an entry of `fields` must be a mapping, not `5`; "
                     "write {name: title, type: text}; the types are text, tag, numeric, geo, vector"),
        (entry("{name: a, type: text, text: 1}"), "16:33: unknown key `text`; known keys are name, path, type, attrs"),
        (entry("{name: a, type: tag, attrs: {sortable: maybe}}"),
         "16:50: `sortable` must be true or false, not `maybe`; write true or false"),
        (entry("{name: a, type: tag, attrs: {separator: ab}}"),
         "16:51: `separator` is too long; write at most 1 character"),
        (entry("{name: a, type: text, attrs: {weight: 0}}"), "16:49: `weight` cannot be `0`; write a number above 0"),
        (entry("{name: a, type: vector}"),
         "16:11: missing key `attrs` in an entry of `fields`; "
         "add it: Attributes of a vector field; the HNSW ones are refused on a flat index"),
        (entry("{name: a, type: vector, attrs: {dims: 3, m: 4}}"),
         "16:52: `m` only with `algorithm: hnsw`; change the algorithm, or leave it out"),
    ],
)  # fmt: skip
def test_a_mistake_is_told_once_with_place_and_remedy(tmp_path: Path, text: str, problem: str) -> None:
    """And nothing that follows from it."""
    (line,) = told(tmp_path, text)
    assert line == f"a.yaml:{problem}"


def test_a_long_value_is_shortened(tmp_path: Path) -> None:
    """A message stays on its line."""
    (line,) = told(tmp_path, contract(mongo=f"collection: {'x' * 500}"))
    assert f"`{'x' * 59}…` cannot be a `collection`" in line


def test_what_depends_on_a_missing_variable_is_not_told(tmp_path: Path) -> None:
    """Its value is unknown, not wrong."""
    text = contract(projection("[a, '${GONE}']"), mongo="collection: '${GONE}', unique: ['${GONE}']")
    assert [line.split(";")[0] for line in told(tmp_path, text)] == [
        "a.yaml:7:22: the variable `GONE` is not set",
        "a.yaml:7:42: the variable `GONE` is not set",
        "a.yaml:12:18: the variable `GONE` is not set",
    ]
