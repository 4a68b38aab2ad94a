"""What projections say that share a hash, and what does not fit."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.unit.contract.contracts import contract, load, projection, told

SHARE = "    share: true\n"


def users(
    fields: str = "{name: name}",
    *,
    more: str = SHARE,
    key: str = "user:{_id}",
    type: str = "hash",
    mongo: str = "collection: shop.users",
) -> str:
    return contract(projection(fields, type=type, key=key) + more, mongo=mongo)


def numbers(fields: str = "{visits: visits}", *, more: str = SHARE) -> str:
    text = projection(fields, key="user:{_id}") + more
    return contract(text, name="numbers", mongo="collection: shop.numbers")


def test_contracts_share_a_hash(tmp_path: Path) -> None:
    """Where their fields differ, also of other collections."""
    one, other = load(tmp_path, users(), numbers())
    assert one.contract.redis[0].share
    assert other.contract.redis[0].share


WRONG = {
    "a field of two": (
        (users(), numbers("{visits: visits, name: n}")),
        "b.yaml:11:10: two contracts write the field `name` of the same hashes: `user:{_id}` and `user:{_id}` of "
        "a.yaml:11:10, such as `user:1`; leave it out of one of them",
    ),
    "one that does not share": (
        (users(), numbers(more="")),
        "b.yaml:11:10: two contracts write the same keys, and one of them does not share them: `user:{_id}` and "
        "`user:{_id}` of a.yaml:11:10, such as `user:1`; write share: true in both, or give one of them another prefix",
    ),
    "the document": (
        (users("all"),),
        "a.yaml:12:5: `fields: all` beside `share`: the hash is not this projection's alone; "
        "name the fields, for no other projection may have one of them",
    ),
    "a time to live": (
        (users(more="    share: true\n    ttl: 1d\n"),),
        "a.yaml:14:5: `ttl` beside `share`: the hash is not this projection's alone; "
        "write `ttl` of the single fields, such as {name: {from: name, ttl: {field: until}}}",
    ),
    "another type": (
        (users(type="json"),),
        "a.yaml:9:5: a json has no fields that projections could share; write type: hash",
    ),
    "a key without its document": (
        (users(key="user:{nr}", mongo="collection: shop.users, unique: [[nr]]"),),
        "a.yaml:11:10: the key `user:{nr}` of a shared hash does not say which document it is of; "
        "write {_id} in it, such as user:{_id}",
    ),
}


@pytest.mark.parametrize("case", WRONG)
def test_what_does_not_fit_is_refused(tmp_path: Path, case: str) -> None:
    """With place and remedy, each once."""
    texts, problem = WRONG[case]
    assert told(tmp_path, *texts) == [problem]
