"""What fits a change feed, and what does not."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.unit.contract.contracts import contract, load, projection, told

APPEND = "sync: {direction: redis_to_mongo, capture: append}\n"


def feed(
    fields: str = "{id: _id, status: status}",
    *,
    key: str = "orders:changes",
    more: str = "",
    behind: str = "",
    name: str = "orders",
    mongo: str = "collection: shop.orders",
) -> str:
    return contract(projection(fields, type="stream", key=key) + more + behind, name=name, mongo=mongo)


def test_a_feed_passes(tmp_path: Path) -> None:
    """Also where another contract appends what it holds to another collection."""
    more = "    events: [insert, delete]\n    keep: {entries: 1000}\n    copy: true\n"
    append = contract(
        projection("{status: status}", type="stream", key="orders:changes") + APPEND,
        name="copies",
        mongo="collection: shop.copies",
    )
    one, _ = load(tmp_path, feed(more=more), append)
    assert one.contract.redis[0].events == ("insert", "delete")
    assert one.contract.redis[0].copy_


def test_a_feed_of_a_filter(tmp_path: Path) -> None:
    """Tells of documents that come to match it and leave."""
    more = "    events: [enter, leave, delete]\n"
    (one,) = load(tmp_path, feed(more=more, mongo="collection: shop.orders, filter: {a: 1}"))
    assert one.contract.redis[0].events == ("enter", "leave", "delete")


def test_each_collection_has_a_feed(tmp_path: Path) -> None:
    """Of a contract over several, whose names stand in the key."""
    mongo = 'collection: "tenant_*.orders"'
    (found,) = load(tmp_path, feed(key="{$db}:changes", mongo=mongo))
    assert found.contract.patterns == ("tenant_*.orders",)


WRONG = {
    "what a deletion means": (
        (feed(behind="sync: {on_delete: ignore}\n"),),
        "a.yaml:13:8: `on_delete` is for documents that have a key, and the contract has change feeds alone; "
        "leave it out; `events` of the projection says whether a deletion becomes an entry",
    ),
    "how many keys may go": (
        (feed(behind="sync: {sweep_limit: 50%}\n"),),
        "a.yaml:13:8: `sweep_limit` is for documents that have a key, and the contract has change feeds alone; "
        "leave it out",
    ),
    "one stream of several collections": (
        (feed(mongo='collection: "tenant_*.orders"'),),
        "a.yaml:11:10: the key `orders:changes` is the same for documents of several collections; add {$db}",
    ),
    "a placeholder": (
        (feed(key="orders:{_id}"),),
        "a.yaml:11:10: a placeholder in the key of a change feed, `orders:{_id}`; name the one key that the stream has",
    ),
    "a field of syncd's": (
        (feed("{op: kind}"),),
        "a.yaml:12:18: `op` is a field of syncd's in every entry: op, _id, time, changed; give it another name",
    ),
    "the document": (
        (feed("all"),),
        "a.yaml:12:13: `fields: all` of a change feed, where a field of the document could be one of syncd's; "
        "name the fields; the whole document as JSON is document: {expr: '@'}",
    ),
    "a time to live": (
        (feed(more="    ttl: 1d\n"),),
        "a.yaml:13:5: a change feed has no `ttl`; write keep: {age: 7d}, by which entries go one by one",
    ),
    "an index": (
        (feed(more="    index: {name: i, fields: [{name: id, type: tag}]}\n"),),
        "a.yaml:13:5: a change feed has no `index`; leave it out",
    ),
    "two bounds": (
        (feed(more="    keep: {entries: 5, age: 1d}\n"),),
        "a.yaml:13:11: `keep` says one thing; write one of them, such as keep: {last: 100}",
    ),
    "a list's bound": (
        (contract(projection("{a: a}") + "    keep: {entries: 5}\n"),),
        "a.yaml:13:5: a hash has no such `keep`; leave it out",
    ),
    "events of a hash": (
        (contract(projection("{a: a}") + "    events: [insert]\n"),),
        "a.yaml:13:5: `events` is for `type: stream`; leave it out",
    ),
    "leaving no filter": (
        (feed(more="    events: [insert, leave]\n"),),
        "a.yaml:13:22: `leave` among the events of a change feed of a contract without a filter; "
        "leave it out, or write mongo: {filter: ...}",
    ),
    "both ways": (
        (feed("{status: status}", behind="sync: {direction: both, capture: outbox, on_conflict: newest}\n"),),
        "a.yaml:10:11: `type: stream` is for contracts that append, or for change feeds; "
        "write capture: append with direction: redis_to_mongo, or another type",
    ),
    "a check": (
        (feed(behind="reconcile: {every: 1h}\n"),),
        "a.yaml:13:1: `reconcile` is for documents that have a key, and a change feed has no state; leave it out",
    ),
    "two writers": (
        (feed(), feed(name="more", mongo="collection: shop.more")),
        "b.yaml:11:10: two contracts own the same keys: `orders:changes` and `orders:changes` of a.yaml:11:10, "
        "such as `orders:changes`; give one of them another prefix",
    ),
    "a circle": (
        (
            feed(),
            contract(
                projection("{status: status}", type="stream", key="orders:changes") + APPEND,
                name="back",
                mongo="collection: shop.orders",
            ),
        ),
        "a.yaml:11:10: the changes of a collection in a stream that b.yaml appends to the same collection; "
        "name another stream or collection",
    ),
}


@pytest.mark.parametrize("case", WRONG)
def test_what_does_not_fit_is_refused(tmp_path: Path, case: str) -> None:
    """With place and remedy, each once."""
    texts, wanted = WRONG[case]
    assert told(tmp_path, *texts) == [wanted]
