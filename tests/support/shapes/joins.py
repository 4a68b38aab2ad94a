"""Orders that name customers, which name regions: a contract with joins, and what its keys should show."""

from __future__ import annotations

from typing import Any

from pymongo.collection import Collection

from tests.support.check import wait_until
from tests.support.contracts import projection
from tests.support.scene import TIMEOUT, Flow, Scene

FIELDS = {"total": "total", "customer": "customer.name", "tier": "customer.tier", "region": "region.name"}
CARD = projection(FIELDS)


class Shop:
    """Orders that name customers, which name regions."""

    def __init__(self, scene: Scene, short: str, **more: Any) -> None:
        self._scene, self.short, self._more = scene, short, more
        of = scene.mongo[scene.token]
        self.orders: Collection[Any] = of[short]
        self.customers: Collection[Any] = of[f"{short}_customers"]
        self.regions: Collection[Any] = of[f"{short}_regions"]
        self.orders.create_index({"customer_id": 1, "_id": 1})
        self.customers.create_index({"region_id": 1, "_id": 1})

    @property
    def joins(self) -> dict[str, Any]:
        return {
            "customer": {
                "collection": self.customers.full_name,
                "on": {"customer_id": "_id"},
                "fields": ["name", "tier", "region_id"],
            },
            "region": {
                "collection": self.regions.full_name,
                "on": {"customer.region_id": "_id"},
                "fields": ["name"],
            },
        }

    def fill(self, orders: int, customers: int, regions: int = 3) -> None:
        self.regions.insert_many([{"_id": n, "name": f"region {n}"} for n in range(regions)])
        self.customers.insert_many(
            [
                {"_id": n, "name": f"customer {n}", "tier": 1, "region_id": n % regions}
                for n in range(customers)
            ]
        )
        self.orders.insert_many([{"_id": n, "total": n, "customer_id": n % customers} for n in range(orders)])

    def add(self, *projections: dict[str, Any], **more: Any) -> Flow:
        """The contract."""
        return self._scene.add(self.short, *(projections or (CARD,)), joins=self.joins, **self._more, **more)

    def run(self, *projections: dict[str, Any], **more: Any) -> Flow:
        """The same, until its lane is live."""
        return self._scene.run(self.short, *(projections or (CARD,)), joins=self.joins, **self._more, **more)

    def wanted(self) -> dict[str, dict[str, str]]:
        """What each order should show, by `_id`."""
        customers = {one["_id"]: one for one in self.customers.find()}
        regions = {one["_id"]: one for one in self.regions.find()}
        found = {}
        for order in self.orders.find():
            customer = customers.get(order.get("customer_id"), {})
            region = regions.get(customer.get("region_id"), {})
            shown = {
                "total": order.get("total"), "customer": customer.get("name"), "tier": customer.get("tier"),
                "region": region.get("name"),
            }  # fmt: skip
            found[str(order["_id"])] = {name: str(one) for name, one in shown.items() if one is not None}
        return found


def differing(shop: Shop, flow: Flow) -> dict[str, Any]:
    wanted, keys = shop.wanted(), flow.keys()
    pipe = flow.redis.pipeline(transaction=False)
    for end in wanted:
        pipe.hgetall(flow.key(end))
    found = {
        end: {name.decode(): value.decode() for name, value in one.items()}
        for end, one in zip(wanted, pipe.execute(), strict=True)
    }
    wrong: dict[str, Any] = {end: (found[end], one) for end, one in wanted.items() if found[end] != one}
    return wrong | dict.fromkeys(keys - wanted.keys(), "no document")


def wait_same(shop: Shop, flow: Flow, timeout: float = TIMEOUT) -> None:
    wait_until(
        lambda: not differing(shop, flow),
        timeout,
        lambda: f"{dict(list(differing(shop, flow).items())[:3])} the same; {flow.lane()}",
    )
