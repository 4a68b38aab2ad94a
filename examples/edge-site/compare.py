"""Both sides of every contract, document by document, by rules of the example's own."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Iterator
from typing import Any

from edges import KEY, NAMES, Document, Site
from pymongo.database import Database


def differences(database: Database[Document], sites: list[Site]) -> list[str]:
    """What is not equal."""
    return [
        f"{site.name} {what}"
        for site in sites
        for what, here, centre in pairs(database, site)
        if here != centre
    ]


def pairs(database: Database[Document], site: Site) -> Iterator[tuple[str, Any, Any]]:
    """What a site has of each contract, and what it must have by the centre; or the other way round."""
    sold = database["products"].find({"sites": site.name})
    yield "products", hashes(site, "product"), {str(one["_id"]): card(one) for one in sold}
    machines = {str(one["_id"]): machine(one) for one in database["machines"].find()}
    yield "machines", hashes(site, "machine"), machines
    orders = {one["_id"]: order(one) for one in database["orders"].find({"_syncd.site": site.name})}
    yield "orders", hashes(site, "order"), orders
    said: Any = site.redis.xrange(stream := f"readings:{site.name}")
    readings = database["readings"].find({"_id": {"$regex": f"^{stream}/"}})
    arrived = {one.pop("_id").partition("/")[2]: {k: str(v) for k, v in one.items()} for one in readings}
    yield "readings", dict(said), arrived


def hashes(site: Site, name: str) -> dict[str, Any]:
    """All hashes of a projection, by what follows the colon."""
    keys = list(site.redis.scan_iter(f"{name}:*", count=1000))
    with site.redis.pipeline(transaction=False) as pipe:
        for key in keys:
            pipe.hgetall(key)
        return {key.partition(":")[2]: said for key, said in zip(keys, pipe.execute(), strict=True)}


def card(one: Document) -> dict[str, str]:
    """A product as a site may see it."""
    secret = hmac.new(KEY.encode(), one["supplier"]["email"].encode(), hashlib.sha256)
    return {
        "name": one["name"],
        "price": str(one["price"]),
        "supplier": secret.hexdigest(),
        "account": "****" + one["supplier"]["account"][-4:],
    }


def machine(one: Document) -> dict[str, str]:
    """A machine."""
    return {"plan": one["plan"]} | {name: str(one["seen"][name]) for name in NAMES}


def order(one: Document) -> dict[str, str]:
    """An order."""
    return {name: str(one[name]) for name in ("product", "count", "state")}
