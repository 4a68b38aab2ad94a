"""What fits a contract that makes a document of each member, and what does not."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.unit.contract.contracts import contract, load, told

OUTBOX = "{direction: redis_to_mongo, capture: outbox}"


def board(
    key: str = "board:{game}",
    member: str = "{user}",
    *,
    more: str = "score: points",
    type: str = "zset",
    sync: str = OUTBOX,
) -> str:
    said = f'{{projection: board, type: {type}, key: "{key}", each: member, member: "{member}", {more}}}'
    return contract(f"  - {said}\nsync: {sync}\n")


@pytest.mark.parametrize(
    "said",
    [
        board(), board(more="key_values: text", type="set"), board("online", "{_id}", type="set", more="key_types: {}"),
        board(member="{at}:{user*}", more="score: points, key_types: {at: epoch}"), board(member="{member}"),
    ],
)  # fmt: skip
def test_what_fits(said: str, tmp_path: Path) -> None:
    """Parts with types, one that holds a colon, a fixed key with {_id}."""
    load(tmp_path, said)


NOT = {
    "to Redis": (
        board(sync="{direction: mongo_to_redis}"),
        "is for `direction: redis_to_mongo`; leave it out",
    ),
    "both ways": (
        board(sync="{direction: both, capture: outbox, on_conflict: newest}"),
        "`type: zset` of this form cannot be merged",
    ),
    "events": (
        board(sync="{direction: redis_to_mongo, capture: keyspace}"),
        "write capture: outbox, whose entries do",
    ),
    "a geo": (board(type="geo", more="position: at"), "`each: member` of a geo; write type: zset, or set"),
    "a bound": (board(more="score: points, keep: {highest: 3}"), "`keep` of keys that go from Redis"),
    "a date": (board(more="score: points, expire: {field: at}"), "`expire` beside `each: member`"),
    "a star": (board("board:{game*}"), "leave out the star"),
    "no placeholder": (board(member="all"), "a member without a placeholder"),
    "an id": (board(member="{_id}"), "`_id` in a member that may be in several keys"),
    "a path twice": (board(member="{points}"), "is that of another field, or inside it"),
    "two parts": (board(member="{a}{b}"), "without a `:` between them"),
    "an array": (board("board:{tags[]}"), "write paths without `[]`"),
    "no score": (board(more="key_values: text"), "without a `score`"),
}


@pytest.mark.parametrize("name", NOT)
def test_what_does_not(name: str, tmp_path: Path) -> None:
    """Each says what to do instead."""
    said, wanted = NOT[name]
    problems = told(tmp_path, said)
    assert any(wanted in problem for problem in problems), problems
    assert len(problems) == 1
