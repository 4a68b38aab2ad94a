"""What a projection of the elements of an array may say, and what it may not."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.unit.contract.contracts import contract, load, projection, told

KEY = "passage:{_id}:{passages.id}"
OUTBOX = "sync: {direction: redis_to_mongo, capture: outbox}\n"
BOTH = "sync: {direction: both, capture: outbox, on_conflict: newest}\n"
ALSO = """\
  - projection: other
    type: hash
    key: "passage:{a}:{b}"
    fields: [title]
"""


def each(
    fields: str = "{title: title, text: passages.text}",
    *,
    type: str = "json",
    key: str = KEY,
    each: str = "passages",
    more: str = "",
    mongo: str = "collection: catalog.movies",
) -> str:
    return contract(projection(fields, type=type, key=key) + f"    each: {each}\n{more}", mongo=mongo)


FINE = {
    "an id in the key": each(),
    "the position": each(key="passage:{_id}:{passages.#}", type="hash"),
    "an array of values": each("{tag: tags}", key="tag:{_id}:{tags}", each="tags"),
    "deeper": each("{text: body.passages.text}", key="p:{_id}:{body.passages.id}", each="body.passages"),
    "without _id": each(
        key="passage:{passages.id}", mongo="{collection: a.b, unique: [[passages.id]]}"[1:-1]
    ),
    "a slug and the position": each(
        key="passage:{slug}:{passages.#}", mongo="{collection: a.b, unique: [[slug]]}"[1:-1]
    ),
}
REFUSED = {
    "no element in the key": (each(key="passage:{_id}"), "no placeholder of the key `passage:{_id}` is of an element"),
    "another array": (each(key="passage:{_id}:{other.id}"), "is of an element of `passages`"),
    "the name alone": (each(key="passage:{_id}:{passage}"), "is of an element of `passages`"),
    "elements of any document": (each(key="passage:{passages.id}"), "is not unique per document"),
    "the position of any document": (each(key="passage:{passages.#}"), "is not unique per document"),
    "a string": (each(type="string"), "`each` in a projection of `type: string`"),
    "the whole document": (each("all"), "`fields: all` beside `each`"),
    "from Redis": (each(more=OUTBOX), "`each` is for `direction: mongo_to_redis`"),
    "both ways": (each(more=BOTH), "`each` is for `direction: mongo_to_redis`"),
    "of the _id": (each(each="_id.parts", key="p:{_id.parts}:{_id}"), "`_id` holds no array"),
    "of an element": (each(each="a.0.b", key="p:{_id}:{a.0.b.c}"), "a number in the path of an array"),
    "a starred position": (each(key="p:{_id}:{passages.#*}"), "the position of an element"),
    "a typed position": (
        each(key="p:{_id}:{passages.#}", more='    key_types: {"passages.#": int}\n'),
        "the position of an element",
    ),
    "keys of another": (each(more=ALSO), "two projections own the same keys"),
}  # fmt: skip


@pytest.mark.parametrize("name", FINE)
def test_what_fits(name: str, tmp_path: Path) -> None:
    """Elements by an id or their position, of objects or of values, in an array at the top or deeper."""
    (loaded,) = load(tmp_path, FINE[name])
    assert loaded.contract.redis[0].each


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_refused(name: str, tmp_path: Path) -> None:
    """Each mistake is told where it stands, with what to write instead."""
    text, wanted = REFUSED[name]
    found = told(tmp_path, text)
    assert any(wanted in one for one in found), found
