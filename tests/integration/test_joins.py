"""Joins: documents of other collections that stand in a document."""

from __future__ import annotations

from syncd.contract.read.load import load_contract_set
from syncd.ops.checks.preflight import preflight
from syncd.settings import Settings
from tests.support.check import wait_until
from tests.support.contracts import projection
from tests.support.scene import TIMEOUT, Scene
from tests.support.shapes.joins import CARD, Shop, wait_same
from tests.support.ways.reconcile import check, drift_of


def test_a_document_shows_what_it_joins(shared: Scene) -> None:
    """nothing_lost: joined documents are copied with those that name them; then either side changes, comes and goes,
    and a document names another one; each time all documents show it."""
    shop = Shop(shared, "orders")
    shop.fill(120, 10)
    flow = shop.run()
    wait_same(shop, flow)
    shop.customers.update_one({"_id": 3}, {"$set": {"name": "another"}})
    shop.customers.delete_one({"_id": 4})
    shop.customers.replace_one({"_id": 5}, {"name": "replaced", "region_id": 2})
    shop.customers.update_one({"_id": 6}, {"$unset": {"tier": ""}})
    shop.regions.update_one({"_id": 1}, {"$set": {"name": "elsewhere"}})
    shop.regions.delete_one({"_id": 2})
    wait_same(shop, flow)
    shop.orders.update_one({"_id": 7}, {"$set": {"customer_id": 99}})
    shop.orders.insert_one({"_id": 200, "total": 1, "customer_id": 3})
    shop.orders.delete_one({"_id": 8})
    shop.orders.update_one({"_id": 9}, {"$unset": {"customer_id": ""}})
    shop.orders.update_one({"_id": 10}, {"$set": {"customer_id": [1, 2]}})
    shop.orders.update_one({"_id": 11}, {"$set": {"customer_id": 1.0}})
    wait_until(
        lambda: flow.hash(11).get("customer") == "customer 1", TIMEOUT, "numbers compare as in MongoDB"
    )
    shop.orders.delete_one({"_id": 10})
    wait_same(shop, flow)
    shop.customers.insert_one({"_id": 99, "name": "late", "region_id": 1})
    wait_same(shop, flow)
    assert flow.lane()["refresh_pending"] == 0


def test_an_update_that_shows_nowhere(shared: Scene) -> None:
    """An update of a joined document that touches none of its fields has no document read again."""
    shop = Shop(shared, "unseen")
    shop.fill(120, 4)
    flow = shop.run()
    flow.count_reads()
    shop.customers.update_many({}, {"$set": {"named": 1, "at.name": 1}})
    shop.customers.update_one({"_id": 3}, {"$set": {"name": "another"}})
    wait_until(lambda: flow.hash(119).get("customer") == "another", TIMEOUT, lambda: flow.hash(119))
    assert flow.documents_read() == 2 * 30, "those of one customer, found and read"
    wait_same(shop, flow)


def test_a_part_of_an_array_changes(shared: Scene) -> None:
    """nothing_lost: an update that MongoDB describes as one of an element, or of what is in one, shows."""
    tags = shared.mongo[shared.token]["arrays_tags"]
    docs = shared.mongo[shared.token]["arrays"]
    docs.create_index({"tag": 1, "_id": 1})
    tags.insert_one({"_id": "", "names": [{"of": {"en": "a"}}, {"of": {"en": "b"}}]})
    docs.insert_many([{"_id": "", "tag": ""}, {"_id": 1}])  # the text of this `_id` in a key is empty
    joins = {"tag": {"collection": tags.full_name, "on": {"tag": "_id"}, "fields": ["names.of.en"]}}
    flow = shared.run("arrays", projection({"n": "tag.names.of.en"}), joins=joins)
    assert not flow.hash(1), "which names nothing"
    for change, shown in (
        ({"$set": {"names.0.of.en": "c"}}, '["c","b"]'),
        ({"$set": {"names.1": {"of": {"en": "d"}}}}, '["c","d"]'),
        ({"$push": {"names": {"of": {"en": "e"}}}}, '["c","d","e"]'),
        ({"$unset": {"names.0.of.en": ""}}, '["d","e"]'),
        ({"$set": {"names.2.of": {"en": "f"}}}, '["d","f"]'),
        ({"$pop": {"names": 1}}, '["d"]'),
    ):
        tags.update_one({"_id": ""}, change)
        flow.wait_hash("", {"n": shown})


def test_partitions_share_the_work(scene: Scene) -> None:
    """nothing_lost: each partition refreshes its own documents, and all show a change."""
    shop = Shop(scene, "parts")
    shop.fill(60, 3)
    flow = shop.add()
    daemons = [scene.another_daemon(SYNCD_PARTITION=part) for part in ("1/2", "2/2")]
    for daemon in daemons:
        daemon.start()
    for daemon in daemons:
        daemon.wait_ready()
    shop.customers.update_many({}, {"$set": {"name": "another"}})
    shop.regions.delete_one({"_id": 1})
    wait_same(shop, flow)


def test_without_its_index_a_contract_does_not_run(shared: Scene) -> None:
    """nothing_silent: a contract without the index for its join fails, and says which one to create; it goes on once it
    is there."""
    shop = Shop(shared, "noindex")
    shop.fill(5, 2)
    shop.orders.drop_index("customer_id_1__id_1")
    flow = shop.add()
    error = flow.wait_state("failed")["error"]
    assert 'getCollection("noindex").createIndex({"customer_id": 1, "_id": 1})' in error
    shop.orders.create_index({"customer_id": 1, "_id": 1})
    flow.write(
        CARD, joins=shop.joins, version="1.0.1"
    )  # a lane that has failed tries again after half a minute
    flow.wait_live(60)
    wait_same(shop, flow)


def test_a_joined_collection_is_dropped(shared: Scene) -> None:
    """no_ghosts: where a joined collection is dropped, its fields go, and come back with its documents."""
    shop = Shop(shared, "dropped")
    shop.fill(20, 4)
    flow = shop.run()
    shop.customers.drop()
    wait_same(shop, flow)
    shop.customers.create_index({"region_id": 1, "_id": 1})
    shop.customers.insert_one({"_id": 1, "name": "back"})
    wait_same(shop, flow, 60)


def test_every_shape_shows_what_it_joins(shared: Scene) -> None:
    """nothing_lost: JSON, keys for each element and members of shared keys show a change of what they join; a document
    that does not fit because of it is a dead letter, and where what it joins goes, what was made of that goes."""
    shop = Shop(shared, "shapes")
    shop.fill(12, 3)
    shop.orders.update_many({}, {"$set": {"lines": [{"id": "a"}, {"id": "b"}]}})
    tier = {"from": "customer.tier", "type": "int"}
    flow = shop.run(
        projection({"who": "customer"}, name="doc", type="json"),
        projection({"tier": tier}, name="line", each="lines", key="{_id}:{lines.id}"),
        projection(name="board", type="zset", key="all", member="{_id}", score="customer.tier"),
    )
    first = {"name": "customer 1", "tier": 1, "region_id": 1}
    wait_until(lambda: flow.json(1, "doc") == {"who": first}, TIMEOUT, lambda: flow.json(1, "doc"))
    shop.customers.update_one({"_id": 1}, {"$set": {"tier": 7}})
    lines, board = [f"{n}:{line}" for n in (1, 4, 7, 10) for line in "ab"], flow.key("all", "board")
    wait_until(lambda: all(flow.hash(one, "line") == {"tier": "7"} for one in lines), TIMEOUT, "lines")
    assert flow.json(10, "doc") == {"who": first | {"tier": 7}}
    assert flow.redis.zrangebyscore(board, 7, 7) == [b"1", b"10", b"4", b"7"]
    shop.customers.update_one({"_id": 1}, {"$set": {"tier": "none"}})
    wait_until(lambda: len(flow.dead_letters()) == 8, TIMEOUT, flow.dead_letters)
    assert {one["projection"] for one in flow.dead_letters()} == {"line", "board"}
    shop.customers.delete_one({"_id": 1})
    wait_until(lambda: flow.redis.zcard(board) == 8, TIMEOUT, lambda: flow.redis.zrange(board, 0, -1))
    assert not flow.redis.exists(flow.key("1:a", "line"))
    assert flow.json(1, "doc") == {}


def test_a_check_compares_what_is_joined(shared: Scene, mongo_uri: str, redis_url: str) -> None:
    """A field of a joined document that is another in Redis is found, and repaired."""
    shop = Shop(shared, "checked")
    shop.fill(30, 3)
    flow = shop.run()
    shop.customers.update_one({"_id": 1}, {"$set": {"name": "another"}})
    wait_same(shop, flow)
    flow.redis.hset(flow.key(4), "customer", "planted")
    flow.redis.hdel(flow.key(5), "region")
    report = check(shared, flow, mongo_uri, redis_url)
    assert drift_of(report) == {("card", flow.key(number), "content") for number in (4, 5)}
    check(shared, flow, mongo_uri, redis_url, repair=True)
    wait_same(shop, flow)
    assert not drift_of(check(shared, flow, mongo_uri, redis_url))


def test_a_check_of_the_servers_names_the_index(scene: Scene, mongo_uri: str, redis_url: str) -> None:
    """nothing_silent: `check --connect` and `doctor` say which index is missing, and a view that cannot be followed."""
    shop = Shop(scene, "before")
    shop.fill(5, 2)
    shop.customers.drop_index("region_id_1__id_1")
    shop.regions.drop()
    shop.regions.database.create_collection(shop.regions.name, viewOn="other")
    shop.add()
    contracts = load_contract_set(scene.contracts.path, {})
    settings = Settings.from_environment({"SYNCD_MONGO_URI": mongo_uri, "SYNCD_REDIS_URL": redis_url})
    (problem,) = preflight(contracts, settings).problems
    assert problem.what == f"{shop.regions.full_name} is a view"
    shop.regions.drop()
    (problem,) = preflight(contracts, settings).problems
    assert 'createIndex({"region_id": 1, "_id": 1})' in problem.remedy
    assert problem.line > 1


def test_a_check_of_the_servers_names_what_is_mistyped(scene: Scene, mongo_uri: str, redis_url: str) -> None:
    """nothing_silent: `check --connect` and `doctor` say where a join names a collection that is not there or a field
    that no document has, or reads one that no joined document has, and what may be meant."""
    shop = Shop(scene, "mistyped")
    shop.fill(5, 2)
    shop.orders.create_index({"customer": 1, "_id": 1})
    customers, flawed = shop.customers.full_name, {"customer_id": "_id"}
    flow = scene.add("mistyped", CARD, joins=shop.joins)
    settings = Settings.from_environment({"SYNCD_MONGO_URI": mongo_uri, "SYNCD_REDIS_URL": redis_url})

    def said() -> list[str]:
        report = preflight(load_contract_set(scene.contracts.path, {}), settings)
        assert not report.problems
        return [one.what for one in report.findings if one.level == "data"]

    assert not said()
    flow.write(
        projection({"a": "a.name", "b": "b.name", "c": "c.nam"}),
        joins={
            "a": {"collection": f"{customers}s", "on": flawed, "fields": ["name"]},
            "b": {"collection": customers, "on": {"customer": "_id"}, "fields": ["name"]},
            "c": {"collection": customers, "on": flawed, "fields": ["nam"]},
        },
    )
    assert said() == [
        f"there is no collection {customers}s, which the join `a` names (did you mean `{shop.customers.name}`?)",
        f"none of 5 documents of {shop.orders.full_name} has `customer` (did you mean `customer_id`?)",
        f"none of 2 documents of {customers} has `nam` (did you mean `name`?)",
    ]
