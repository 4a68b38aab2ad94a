"""Rules about search indexes."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.unit.contract.contracts import CARD, contract, load, projection, told

FIELDS = """\
{title: title, n: {from: n, type: int}, at: {from: at, type: geo}, tags: tags, s: {from: s, type: string}, \
m: {from: m, mask: hmac}, d: {from: d, type: decimal}, b: {from: b, type: bool}, \
v: {from: v, type: vector, dims: 3}, w: {from: w, type: vector, dims: 3, datatype: float16}}"""


def indexed(entries: str, type: str = "hash", fields: str = FIELDS) -> str:
    """An index whose entries begin on line 16, column 11."""
    return contract(projection(fields, type=type, index=entries))


def vector(name: str, attrs: str) -> str:
    return f"{{name: {name}, type: vector, attrs: {{{attrs}}}}}"


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        (indexed("{name: x, type: tag}", fields="[title, year]"),
         "16:11: index field `x`: no projected field writes `x`; add it to `fields`, or index one of title, year"),
        (indexed("{name: x, type: tag, path: $.x.y}", "json", "[title, year]"),
         "16:11: index field `x`: no projected field writes `x`; add it to `fields`, or index one of title, year"),
        (indexed("{name: title, type: tag}\n{name: title, type: text}"),
         "17:18: index field `title` again; keep one, or rename it"),
        (indexed("{name: title, type: tag, path: $.title}"),
         "16:42: index field `title`: a hash has no paths; leave `path` out; the name is the hash field"),
        (indexed("{name: title, type: tag, path: title}", "json"),
         "16:42: index field `title`: not a JSON path that RedisJSON can read; write one from the root, such as "
         'path: $.genres[*], and names beyond ASCII letters, digits and -_ in brackets, such as path: $["größe"]'),
        (indexed("{name: title, type: tag, path: $.größe}", "json"),
         "16:42: index field `title`: not a JSON path that RedisJSON can read; write one from the root, such as "
         'path: $.genres[*], and names beyond ASCII letters, digits and -_ in brackets, such as path: $["größe"]'),
        (indexed("{name: ' a', type: tag}", "json", "{' a': a}"),
         "16:18: index field ` a`: RedisJSON cannot name a member that begins with a blank; "
         "give the projected field another name"),
        (indexed("{name: a b, type: tag}", "json"),
         "16:11: index field `a b`: no projected field writes `a b`; add it to `fields`, or index one of "
         "title, n, at, tags, s, m, d, b, v, w"),
        (indexed(vector("title", "dims: 3")),
         "16:11: index field `title`: a vector index over a field that is not `type: vector`; "
         "write it as {from: ..., type: vector, dims: 3}"),
        (indexed(vector("v", "dims: 4")),
         "16:49: index field `v`: dims 4 differ from the 3 of the projected field; "
         "write the same number in both places"),
        (indexed(vector("v", "dims: 3, datatype: float16")),
         "16:62: index field `v`: datatype float16 differs from the float32 of the projected field; "
         "write the same `datatype` in both places"),
        (indexed(vector("w", "dims: 3")),
         "16:42: index field `w`: datatype float32 differs from the float16 of the projected field; "
         "write the same `datatype` in both places"),
        (indexed("{name: v, type: tag}"), "16:27: index field `v`: a tag index over a field that is of type vector; "
                                          "project a text, or index the field as numeric or vector"),
        (indexed("{name: v, type: numeric}"),
         "16:27: index field `v`: a numeric index over a field that is of type vector; "
         "project type: int, double, epoch, epoch_ms or epoch_us"),
        (indexed("{name: s, type: numeric}"),
         "16:27: index field `s`: a numeric index over a field that is of type string; "
         "project type: int, double, epoch, epoch_ms or epoch_us"),
        (indexed("{name: m, type: numeric}"),
         "16:27: index field `m`: a numeric index over a field that is masked; "
         "project type: int, double, epoch, epoch_ms or epoch_us"),
        (indexed("{name: n, type: geo}"), "16:27: index field `n`: a geo index over a field that is of type int; "
                                          "project type: geo"),
        (indexed("{name: n, type: text}", "json"),
         "16:27: index field `n`: a text index over a field that is of type int; "
         "project a text, or index the field as numeric or vector"),
        (indexed("{name: d, type: numeric}", "json"),
         "16:27: index field `d`: a numeric index over a field that is of type decimal; "
         "project type: int, double, epoch, epoch_ms or epoch_us"),
    ],
)  # fmt: skip
def test_a_field_that_cannot_be_indexed_is_told(tmp_path: Path, text: str, problem: str) -> None:
    """RediSearch would leave documents out without an error."""
    assert told(tmp_path, text) == [f"a.yaml:{problem}"]


@pytest.mark.parametrize(
    ("entries", "type"),
    [
        (
            "{name: title, type: text}\n{name: n, type: numeric}\n{name: at, type: geo}\n{name: m, type: tag}",
            "hash",
        ),
        (
            "{name: n, type: text}\n{name: d, type: numeric}\n{name: s, type: geo}\n{name: title, type: numeric}",
            "hash",
        ),
        (vector("v", "dims: 3") + "\n" + vector("w", "dims: 3, datatype: float16"), "hash"),
        (vector("w", "dims: 3, datatype: float32, algorithm: HNSW"), "json"),
        ("{name: x, type: tag, path: '$.tags[*]'}\n{name: y, type: text, path: '$[\"title\"]'}", "json"),
        ("{name: x, type: tag, path: $..name}\n{name: y, type: tag, path: '$.*'}", "json"),
        ("{name: n.name, type: text}\n{name: b, type: tag}", "json"),
        (vector("x", "dims: 7").replace(", attrs", ", path: '$.tags[*].v', attrs"), "json"),
    ],
)
def test_what_fits_passes(tmp_path: Path, entries: str, type: str) -> None:
    """What lies below a projected field is up to the documents."""
    assert load(tmp_path, indexed(entries, type))


@pytest.mark.parametrize("type", ["hash", "json"])
def test_the_whole_document_may_be_indexed_by_any_name(tmp_path: Path, type: str) -> None:
    """`fields: all` says nothing about types."""
    assert load(tmp_path, indexed(vector("any", "dims: 3") + "\n{name: other, type: numeric}", type, "all"))


def test_an_index_needs_a_prefix(tmp_path: Path) -> None:
    """Without one it would hold every key of the server."""
    text = contract(projection("all", key="{tenant}:{_id}", index="{name: a, type: tag}"))
    assert told(tmp_path, text) == [
        "a.yaml:11:10: an index over a key without a prefix would hold every key; begin the key with a name"
    ]


def test_an_index_takes_in_no_keys_of_others(tmp_path: Path) -> None:
    """RediSearch indexes by prefix and type, also keys of other clients."""
    films = contract(projection("all", index="{name: a, type: tag}"))
    parts = contract(CARD.replace("{_id}", "part:{_id}:x"), name="parts")
    assert told(tmp_path, films, parts) == [
        "a.yaml:11:10: the index on `movie:{_id}` takes in keys of `movie:part:{_id}:x` in b.yaml; "
        "give one of them another prefix"
    ]
    assert len(told(tmp_path, films, parts.replace("part:{_id}:x", "{_id}"))) == 1
    assert load(tmp_path, films, parts.replace("hash", "json"))
    assert load(tmp_path, films, parts.replace("movie:part", "{tenant}:part"))


def test_an_index_name_is_unique_among_all_contracts(tmp_path: Path) -> None:
    """It is an alias, and points at one index."""
    one = contract(projection("all", index="{name: a, type: tag}"))
    other = contract(projection("all", key="film:{_id}", index="{name: a, type: tag}"), name="films")
    assert told(tmp_path, one, other) == [
        "b.yaml:14:13: the index name `films` again; choose another name, for a projection of a.yaml has this one"
    ]


def test_an_index_is_not_judged_by_a_field_that_was_refused(tmp_path: Path) -> None:
    """What follows from a mistake is not a second one."""
    text = indexed(
        f"{vector('v', 'dims: 4')}\n{{name: x, type: tag}}", fields="{v: {from: v, type: vectr}, t: t}"
    )
    assert [line.split(";")[0] for line in told(tmp_path, text)] == [
        "a.yaml:12:33: `type` cannot be `vectr`",
        "a.yaml:17:11: index field `x`: no projected field writes `x`",
    ]


def test_what_becomes_of_an_index_after_an_edit(tmp_path: Path) -> None:
    """`generations` and `keep_old` as documented; in place there is no old index that could be kept."""
    text = indexed("{name: title, type: text}").replace("name: films", "name: films\n      {}")
    for said in (
        "generations: in_place",
        "keep_old: until_dropped",
        "generations: alias\n      keep_old: 7d",
    ):
        assert told(tmp_path, text.replace("{}", said)) == []
    (problem,) = told(tmp_path, text.replace("{}", "generations: in_place\n      keep_old: 7d"))
    assert "`keep_old` only with `generations: alias`; leave it out: in place there is no old one" in problem
    for said in ("generations: swap", "keep_old: 7", "keep_old: 0s", "keep_old: never"):
        assert len(told(tmp_path, text.replace("{}", said))) == 1
