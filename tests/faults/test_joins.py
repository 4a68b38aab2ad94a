"""Joined documents (nothing_lost, never_backwards, never_torn, bounded): both sides change, everything is killed."""

from __future__ import annotations

import itertools
import random
import threading
from contextlib import AbstractContextManager
from typing import Any

from syncd.stores.mongo.times import moment, parse
from tests.faults.conftest import Rig
from tests.support.check import meanwhile, wait_until
from tests.support.contracts import projection
from tests.support.scale import SCALE
from tests.support.scene import Flow
from tests.support.shapes.joins import Shop, wait_same

ORDERS, CUSTOMERS = 1_500 * SCALE, 60 * SCALE
VERSIONS = projection(
    {"total": "total", "customer": "customer.name", "tier": "customer.tier", "region": "region.name"}
)


def changing(shop: Shop, seed: int) -> AbstractContextManager[None]:
    """Orders, customers and regions change, come and go, and orders change their customer."""
    chance, turns = random.Random(seed), itertools.count(1)

    def write() -> None:
        turn, order, customer = next(turns), chance.randrange(ORDERS), chance.randrange(CUSTOMERS)
        match chance.randrange(8):
            case 0 | 1:
                shop.orders.update_one({"_id": order}, {"$set": {"total": turn}})
            case 2:
                shop.orders.update_one({"_id": order}, {"$set": {"customer_id": customer}})
            case 3:
                shop.orders.delete_one({"_id": order})
            case 4:
                whole = {"_id": order, "total": turn, "customer_id": customer}
                shop.orders.replace_one({"_id": order}, whole, upsert=True)
            case 5:
                shop.customers.update_one({"_id": customer}, {"$set": {"name": f"turn {turn}", "tier": turn}})
            case 6:
                shop.customers.delete_one({"_id": customer})
                shop.customers.insert_one({"_id": customer, "name": "again", "region_id": turn % 3})
            case 7:
                shop.regions.update_one({"_id": turn % 3}, {"$set": {"name": f"turn {turn}"}})

    return meanwhile(write, 0.02)


def test_both_sides_change_while_the_daemon_is_killed(rig: Rig) -> None:
    """nothing_lost: the daemon is killed while it copies, and three times while orders, their customers and the regions
    of these change; at the end every order shows its customer and the region as MongoDB has them"""
    rig.redis_proxy.delay(0.001)
    shop = Shop(rig.scene, "shop")
    shop.fill(ORDERS, CUSTOMERS)
    flow = shop.add()
    env = {"SYNCD_CHUNK_DOCUMENTS": "100", "SYNCD_BATCH_WRITES": "60", "SYNCD_SNAPSHOT_PROCESSES": "2"}
    rig.scene.daemon = rig.scene.another_daemon(**env)
    with changing(shop, seed=1):
        rig.scene.start()
        wait_until(lambda: flow.copied() >= ORDERS // 3, 60, flow.position)
        for _ in range(3):
            rig.scene.daemon.kill()
            rig.scene.daemon.start()
            flow.wait_live(60 * SCALE)
    rig.redis_proxy.restore()
    wait_same(shop, flow, 60 * SCALE)
    assert not flow.dead_letters()


def test_a_customer_of_very_many_orders(rig: Rig) -> None:
    """never_backwards, bounded: a customer of all orders changes again and again, and the daemon is killed between two
    pages; orders of other customers do not wait, no order ever shows an earlier state of the customer after a later
    one, and at the end all show the last"""
    shop = Shop(rig.scene, "hot")
    shop.fill(ORDERS, 1)
    shop.orders.insert_one({"_id": "other", "total": 0, "customer_id": "none"})
    flow = shop.add(projection({"total": "total", "customer": "customer.name", "tier": "customer.tier"}))
    rig.scene.daemon = rig.scene.another_daemon(SYNCD_BATCH_WRITES="50")
    rig.scene.start()
    flow.wait_live()
    with Watched(flow, range(0, ORDERS, ORDERS // 10)) as watched:
        for turn in range(2, 6):
            shop.customers.update_one({"_id": 0}, {"$set": {"tier": turn}})
            shop.orders.update_one({"_id": "other"}, {"$set": {"total": turn}})
            if turn % 2:
                wait_until(lambda: flow.hash("0").get("tier") in ("3", "5"), 60, flow.lane)
                rig.scene.daemon.kill()
                rig.scene.daemon.start()
        flow.wait_hash("other", {"total": "5"})
        last = {"total": str(ORDERS - 1), "customer": "customer 0", "tier": "5"}
        flow.wait_hash(ORDERS - 1, last)
        wait_until(lambda: flow.hash(0).get("tier") == "5", 60, flow.lane)
    assert not watched.backwards
    wait_until(lambda: flow.lane()["refresh_pending"] == 0, 60, flow.lane)
    for number in range(ORDERS):
        assert flow.hash(number)["tier"] == "5"


def test_an_order_and_its_customer_of_one_moment(rig: Rig) -> None:
    """never_torn: transactions give orders and their customer the same number; between the read of the orders and that
    of the customer another one comes, and no key ever shows an order and a customer with different numbers"""
    shop = Shop(rig.scene, "moment")
    shop.fill(20, 1)
    shop.orders.update_many({}, {"$set": {"total": 1}})
    flow = shop.add(projection({"total": "total", "tier": "customer.tier"}))
    rig.scene.start()
    flow.wait_live()
    torn: list[dict[str, str]] = []

    def look() -> None:
        found = flow.hashes(range(20))
        torn.extend(one for one in found.values() if one["total"] != one["tier"])

    with meanwhile(look, 0.01):
        for number in range(2, 12, 2):
            name = shop.customers.name.encode() + b"\0"
            hold = rig.mongo_proxy.hold_request(b"find\0" + len(name).to_bytes(4, "little") + name)
            _together(rig, shop, number)
            hold.wait()
            _together(rig, shop, number + 1)
            hold.release()
            last = str(number + 1)
            wait_until(lambda last=last: flow.hash(19) == {"total": last, "tier": last}, 60, flow.lane)
    assert not torn


def test_a_copy_begins_behind_all_streams(rig: Rig) -> None:
    """nothing_lost: a customer changes when the stream of the orders is open and that of the customers is not yet; no
    stream reports that, so the copy reads nothing from before it, also where a majority of MongoDB is late"""
    shop = Shop(rig.scene, "begin")
    shop.fill(2, 1)
    flow = shop.add()
    # The first one only asks whether it can be opened.
    opens = rig.mongo_proxy.hold_request(b"$changeStream", shop.customers.name.encode() + b"\0", nth=2)
    stores = rig.redis_proxy.hold_reply(b"$11\r\nsyncd_apply")
    rig.scene.daemon.start()
    opens.wait()
    with rig.scene.mongo.start_session() as session:
        shop.customers.update_one({"_id": 0}, {"$set": {"tier": 2}}, session=session)
        changed = session.operation_time
    assert changed is not None
    opens.release()
    stores.wait()
    assert parse(flow.position()["mark"].decode()) >= moment(changed), "nothing is read yet"
    stores.release()
    wait_same(shop, flow)


def _together(rig: Rig, shop: Shop, number: int) -> None:
    with rig.scene.mongo.start_session() as session, session.start_transaction():
        shop.orders.update_many({}, {"$set": {"total": number}}, session=session)
        shop.customers.update_one({"_id": 0}, {"$set": {"tier": number}}, session=session)


class Watched:
    """Reads some keys all the time, and keeps what went back."""

    def __init__(self, flow: Flow, numbers: range) -> None:
        self._flow, self._numbers = flow, numbers
        self.backwards: list[tuple[int, int, int]] = []
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def _watch(self) -> None:
        seen: dict[int, int] = {}
        while not self._stop.wait(0.01):
            for number, said in self._flow.hashes(self._numbers).items():
                tier = int(said["tier"])
                if tier < seen.get(number, 0):
                    self.backwards.append((number, seen[number], tier))
                seen[number] = tier

    def __enter__(self) -> Watched:
        self._thread.start()
        return self

    def __exit__(self, *error: Any) -> None:
        self._stop.set()
        self._thread.join()
