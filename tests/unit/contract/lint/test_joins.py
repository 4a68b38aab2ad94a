"""What `mongo.with` may say, and what it may not."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.unit.contract.contracts import contract, load, projection, told

CUSTOMER = "customer: {collection: shop.customers, on: {customer_id: _id}, fields: [name, region_id]}"
REGION = "region: {collection: geo.regions, on: {customer.region_id: _id}, fields: [name]}"
FIELDS = "{customer: customer.name}"


def joining(
    *joins: str,
    fields: str = FIELDS,
    key: str = "order:{_id}",
    type: str = "hash",
    mongo: str = "",
    more: str = "",
) -> str:
    said = ", ".join(joins or (CUSTOMER,))
    place = f"collection: shop.orders, with: {{{said}}}{mongo}"
    return contract(projection(fields, key=key, type=type) + more, mongo=place)


FINE = {
    "one": joining(),
    "through another": joining(CUSTOMER, REGION, fields="{customer: customer.name, region: region.name}"),
    "of the name of its field": joining("customer: {collection: a.b, on: {customer: _id}, fields: [name]}"),
    "inside of the field of its name": joining(
        "customer: {collection: a.b, on: {customer.id: _id}, fields: [name]}"
    ),
    "of a subdocument of another": joining(
        "customer: {collection: a.b, on: {customer_id: _id}, fields: [at]}", "region: "
        "{collection: a.c, on: {customer.at.region: _id}, fields: [name]}", fields="{at: customer.at.city}",
    ),
    "the same collection": joining(
        "customer: {collection: shop.orders, on: {parent: _id}, fields: [total]}", fields="{n: customer.total}"
    ),
    "all of it": joining(fields="{customer: customer}"),
    "an element of an array in it": joining(
        "customer: {collection: a.b, on: {id: _id}, fields: [tags.label]}", fields="{tag: customer.tags.0.label}"
    ),
    "what is around a field": joining(
        "customer: {collection: a.b, on: {id: _id}, fields: [at.city]}", fields="{at: customer.at}"
    ),
    "what is in a field": joining(fields="{first: customer.name.first}"),
    "an expression over it": joining(fields="{customer: {expr: \"join(' ', [customer.name, 'x'])\"}}"),
    "an expression over the document": joining(fields="{customer: {expr: '@'}}"),
    "the element of a document's own array": joining(fields="{n: customer.name, x: {expr: 'lines[].customer.x'}}"),
    "the whole document": joining(fields="all"),
    "beside a filter": joining(mongo=", filter: {customer_id: {$gt: 1}}"),
}  # fmt: skip
REFUSED = {
    "by another field": (
        joining("customer: {collection: a.b, on: {email: email}, fields: [name]}"),
        "a deletion says no field but `_id`",
    ),
    "two fields": (joining("customer: {collection: a.b, on: {a: _id, b: _id}, fields: [name]}"), "at most 1"),
    "no field": (joining("customer: {collection: a.b, on: {a: _id}, fields: []}"), "`fields` is empty"),
    "called _id": (joining("_id: {collection: a.b, on: {a: _id}, fields: [name]}"), "`_id` as the name of a join"),
    "through two others": (
        joining(CUSTOMER, REGION, "land: {collection: a.c, on: {region.name: _id}, fields: [name]}"),
        "a join through `region`, which goes through `customer` itself",
    ),
    "through what is not read": (
        joining(CUSTOMER, "region: {collection: a.c, on: {customer.land: _id}, fields: [name]}"),
        "`land` is not among the fields of `customer`",
    ),
    "through a whole document": (
        joining(CUSTOMER, "region: {collection: a.c, on: {customer: _id}, fields: [name]}"),
        "`customer` is a join, and names no document by itself",
    ),
    "in the key": (joining(key="order:{customer.name}:{_id}"), "which is of the joined `customer`"),
    "in the filter": (joining(mongo=', filter: {$or: [{"customer.name": a}]}'), "which do not hold `customer`"),
    "in an expression of the filter": (
        joining(mongo=', filter: {$expr: {$gt: ["$customer.n", 1]}}'),
        "which do not hold `customer`",
    ),
    "a path past its fields": (
        joining(fields="{customer: customer.nam}"),
        "`nam` is not among the fields of the join `customer`; did you mean customer.name? Otherwise add it to "
        "mongo.with.customer.fields",
    ),
    "an expression past its fields": (
        joining(fields="{customer: {expr: 'customer.tier || `none`'}}"),
        "`tier` is not among the fields of the join `customer`; add it to mongo.with.customer.fields",
    ),
    "a moment past its fields": (
        joining(fields="{n: {from: customer.name, ttl: {field: customer.until}}}"),
        "`until` is not among the fields of the join `customer`",
    ),
    "its _id, which is not among its fields": (
        joining(fields="{n: customer._id}"), "`_id` is not among the fields of the join `customer`"
    ),
    "a change feed": (joining(type="stream", key="orders"), "`type: stream` beside `with`"),
    "the best members": (
        contract(
            '  - {projection: a, type: zset, key: all, member: "{_id}", score: customer.n, keep: {highest: 3}}\n',
            mongo=f"collection: shop.orders, with: {{{CUSTOMER}}}",
        ),
        "`keep` of members beside `with`",
    ),
    "digests": (joining(more="reconcile: {check: digest}\n"), "`check: digest` beside `with`"),
    "both ways": (
        joining(more="sync: {direction: both, capture: outbox, on_conflict: newest}\n"),
        "`with` is for contracts from MongoDB to Redis",
    ),
    "several collections": (
        joining(key="order:{$db}:{_id}").replace("shop.orders", '"*.orders"'),
        "`with` in a contract over several collections",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", FINE)
def test_what_fits(name: str, tmp_path: Path) -> None:
    """One join or several, through another, or of the name of the field that names its document."""
    (loaded,) = load(tmp_path, FINE[name])
    assert loaded.contract.mongo.with_


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_refused(name: str, tmp_path: Path) -> None:
    """Each mistake is told where it stands, with what to write instead."""
    text, wanted = REFUSED[name]
    found = told(tmp_path, text)
    assert any(wanted in one for one in found), found
