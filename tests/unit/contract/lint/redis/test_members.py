"""What a contract may say of documents that are members of shared keys, and what not."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.unit.contract.contracts import contract, load, told


def members(
    type: str = "zset",
    key: str = "board:{game}",
    member: str = '"{_id}"',
    more: str = "score: points",
    sync: str = "",
) -> str:
    said = f'  - projection: board\n    type: {type}\n    key: "{key}"\n'
    said += f"    member: {member}\n" if member else ""
    said += f"    {more}\n" if more else ""
    return contract(said + sync)


FINE = {
    "a board": members(),
    "one board": members(key="board"),
    "the id in the key": members(key="rank:{_id}", member='"{game}"'),
    "a tag": members("set", "tag:{tags[]}", more=""),
    "a tag of a tenant": members("set", "tag:{tenant}:{tags[]*}", more=""),
    "a place": members("geo", more="position: at"),
    "a memory": members("vectorset", more="vector: {from: v, dims: 3}"),
    "the best": members(more="score: points\n    keep: {highest: 100}"),
    "until a date": members("set", "tag:{tags[]}", more="expire: {field: until}"),
    "typed": members(member='"{_id}:{at}"', more="score: points\n    key_types: {at: epoch}"),
}
WRONG = {
    "no score": (members(more=""), "a member of a zset without a `score`"),
    "a score of a set": (members("set"), "a member of a set has no `score`"),
    "a score without a member": (members(member=""), "`score` is for members of shared keys"),
    "a hash": (members("hash", more=""), "a hash has no members"),
    "fields": (members(more="score: points\n    fields: [a]"), "`fields` beside `member`"),
    "elements": (members(more="score: points\n    each: parts"), "`each` beside `member`"),
    "how many of a set": (
        members("set", "tag:{tags[]}", more="keep: {highest: 3}"),
        "members of a set have no such `keep`",
    ),
    "the first": (
        members(more="score: points\n    keep: {first: 3}"),
        "members of a zset have no such `keep`",
    ),
    "the best under another name": (
        members(member='"p:{_id}"', more="score: points\n    keep: {lowest: 3}"),
        "`keep` beside the member `p:{_id}`",
    ),
    "the best as text": (
        members(more="score: points\n    keep: {lowest: 3}\n    key_values: text"),
        "`keep` beside the member `{_id}`",
    ),
    "events": (members(more="score: points\n    events: [insert]"), "`events` beside `member`"),
    "entries of a copy": (members(more="score: points\n    copy: true"), "`copy` beside `member`"),
    "the best until a date": (
        members(more="score: points\n    keep: {highest: 3}\n    expire: {field: until}"),
        "`expire` beside `keep`",
    ),
    "a key until a date": (
        contract('  - {projection: a, type: hash, key: "a:{_id}", fields: [b], expire: {field: c}}\n'),
        "`expire` is for members of shared keys",
    ),
    "a ttl": (members(more="score: points\n    ttl: 1h"), "`ttl` beside `member`"),
    "a geo without a member": (members("geo", member="", more="fields: [a]"), "a geo has members"),
    "no id": (members(member='"{name}"'), "the member `{name}` of `board:{game}` is not unique per document"),
    "a part of the id": (members(member='"{_id.a}"'), "is not unique per document"),
    "an array of ids": (
        members("set", "tag:{_id[]}", more=""),
        "{_id[]} in `tag:{_id[]}`: `_id` is no array; write {_id}",
    ),
    "each id": (members("set", "tag:{_id[]}", '"{name}"', more=""), "is not unique per document"),
    "an array in the member": (members(member='"{_id}:{tags[]}"'), "{tags[]} in a member"),
    "two arrays": (members("set", "t:{a[]}:{b[]}", more=""), "{a[]} and {b[]}"),
    "once with and once without": (members("set", "t:{a[]}:{a}", more=""), "without `[]` as well"),
    "braces": (members(member='"{_id"'), "member template: a `{` that is not closed"),
    "two parts": (members(member='"{a}{_id}"'), "two placeholders of the member without a `:`"),
    "two parts of the key": (members(key="board:{a}{b}"), "two placeholders of `board:{a}{b}` without a `:`"),
    "another way": (
        members(sync="sync: {direction: redis_to_mongo, capture: outbox}\n"),
        "`member` without `each: member` only goes from MongoDB to Redis",
    ),
    "a document for each member": (
        contract(
            "  - {projection: board, type: zset, key: 'board:{_id}', each: member, value: {from: players}}\n"
            "sync: {direction: redis_to_mongo, capture: keyspace}\n"
        ),
        "`each` is for `direction: mongo_to_redis`",
    ),
    "both ways": (
        members(sync="sync: {direction: both, capture: outbox, on_conflict: newest}\n"),
        "`type: zset` of this form cannot be merged",
    ),
    "an array in a hash's key": (
        contract('  - {projection: a, type: hash, key: "a:{_id}:{tags[]}", fields: [b]}\n'),
        "{tags[]} in `a:{_id}:{tags[]}` would give each document several keys",
    ),
}


@pytest.mark.parametrize("name", FINE)
def test_what_is_fine(name: str, tmp_path: Path) -> None:
    """A shared key has any form, and member or key names the document."""
    load(tmp_path, FINE[name])


@pytest.mark.parametrize("name", WRONG)
def test_what_is_not(name: str, tmp_path: Path) -> None:
    """Each mistake is told where it is, and what to write instead."""
    text, what = WRONG[name]
    assert what in " ".join(told(tmp_path, text))


def test_shared_keys_have_one_owner(tmp_path: Path) -> None:
    """Two projections on one template would not know whose a member is."""
    one = members().rstrip("\n")
    other = '\n  - {projection: other, type: zset, key: "board:{b}", member: "{_id}", score: points}\n'
    assert "two projections own the same keys" in " ".join(told(tmp_path, one + other))
