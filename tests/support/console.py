"""Forty contracts as a company has them: most are live, one copies, one has failed, two have dead letters. Use as a
context manager: servers and a daemon of its own, and a browser that looks at them."""

from __future__ import annotations

import json
import os
import re
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, Self

from playwright.sync_api import Browser, Page, sync_playwright
from pymongo import MongoClient
from redis import Redis

from syncd.embedded import RedisServer, ReplicaSet
from tests.support.broken.failpoint import blocking
from tests.support.daemon import Daemon
from tests.support.programs import axe, chromium

TOKEN = "hush"
TEAMS = {
    "discovery": ["movies", "cast", "reviews", "trailers", "watchlists", "recommendations"],
    "checkout": ["carts", "orders", "payments", "refunds", "vouchers", "invoices"],
    "catalogue": ["products", "prices", "stock", "brands", "categories", "bundles"],
    "identity": ["profiles", "sessions", "devices", "consents", "addresses"],
    "delivery": ["parcels", "routes", "depots", "drivers", "slots", "returns"],
    "support": ["tickets", "agents", "macros", "reports"],
    "growth": ["campaigns", "segments", "referrals", "experiments", "clicks", "leads", "banners"],
}
OWNERS = {name: f"{team}-team" for team, names in TEAMS.items() for name in names}
DOCUMENTS = 60
COPIED, CHUNK = 18_000, 100
"""Documents of the contract that copies, and how many a chunk has: each takes a second."""
DEAD = 37
STREAMS = 360
"""Contracts beside the forty."""
PHONE = {"width": 390, "height": 844}
DESK = {"width": 1280, "height": 860}


def contract(name: str, version: str = "1.0.0", **more: Any) -> str:
    """A file. The indented JSON of the parts is YAML."""
    card = {
        "projection": "card", "type": "hash", "key": f"{name}:{{_id}}",
        "fields": {
            "title": "title", "price": {"from": "price", "type": "double"},
            "editor": {"from": "editor.email", "mask": "redact"},
        },
    }  # fmt: skip
    said = {
        "apiVersion": "syncd/v1",
        "kind": "SyncContract",
        "metadata": {
            "name": name, "version": version, "owner": OWNERS.get(name, "platform-team"),
            "description": f"The {name} that pages and services read.",
        },
        "mongo": {"collection": f"shop.{name}"},
        "redis": [card],
        "slo": {"freshness": "5s"},
    } | more  # fmt: skip
    return _yaml(said)


def _yaml(said: dict[str, Any]) -> str:
    lines = []
    for key, value in said.items():
        if isinstance(value, dict):
            lines += [f"{key}:", *(f"  {name}: {_plain(one)}" for name, one in value.items())]
        elif isinstance(value, list):
            lines += [f"{key}:"]
            for one in value:
                first, *rest = (f"{name}: {_plain(part)}" for name, part in one.items())
                lines += [f"  - {first}", *(f"    {line}" for line in rest)]
        else:
            lines.append(f"{key}: {value}")
    return "\n".join(lines) + "\n"


def _plain(value: Any) -> str:
    """Without quotes where people write none."""
    if isinstance(value, dict):
        return "{" + ", ".join(f"{name}: {_plain(one)}" for name, one in value.items()) + "}"
    is_word = isinstance(value, str) and re.fullmatch(r"[a-z0-9][\w .-]*", value)
    return str(value) if is_word else json.dumps(value)


def special() -> dict[str, dict[str, Any]]:
    """What some contracts have beside, or instead of, what all have."""
    key = {
        "projection": "cart",
        "type": "hash",
        "key": "carts:{_id}",
        "fields": {"title": "title", "price": "price"},
    }
    entry = {"projection": "click", "type": "stream", "key": "clicks", "fields": {"page": "page"}}
    indexed = {
        "projection": "film", "type": "json", "key": "movies:{_id}", "fields": ["title", "genres"],
        "index": {"name": "movies", "fields": [{"name": "title", "type": "text"}]},
    }  # fmt: skip
    return {
        "carts": {
            "sync": {"direction": "both", "capture": "outbox", "on_conflict": "merge_fields"},
            "redis": [key],
        },
        "clicks": {"sync": {"direction": "redis_to_mongo", "capture": "append"}, "redis": [entry]},
        "movies": {"redis": [indexed]},
        "tickets": {"reconcile": {"every": "1h", "mode": "report"}},
    }


class Stage:
    """`browser` and `daemon`; `page` opens a page."""

    def __init__(self, folder: Path) -> None:
        self.contracts = folder / "contracts"
        self.contracts.mkdir()
        self._stack = ExitStack()
        self._halt = threading.Event()

    def __enter__(self) -> Self:
        found, self.axe = chromium.find(), axe.source()
        with self._stack as stack:
            uri = stack.enter_context(ReplicaSet(test_commands=True)).uri
            redis_url = stack.enter_context(RedisServer()).url
            self.mongo = stack.enter_context(MongoClient[dict[str, Any]](uri))
            self.redis = stack.enter_context(Redis.from_url(redis_url))
            env = {"SYNCD_TOKEN": TOKEN, "SYNCD_CONSOLE_VALUES": "true"}
            env["SYNCD_CHUNK_DOCUMENTS"] = str(CHUNK)
            self.write("movies")
            self.fill("movies")
            self.daemon = stack.enter_context(
                Daemon(self.contracts, mongo_uri=uri, redis_url=redis_url, env=env)
            )
            playwright = stack.enter_context(sync_playwright())
            self.browser: Browser = playwright.chromium.launch(
                executable_path=found.binary, env={**os.environ, **found.env}, args=["--no-sandbox"]
            )
            stack.callback(self.browser.close)
            writer = threading.Thread(target=self._change, daemon=True)
            writer.start()
            stack.callback(writer.join)
            stack.callback(self._halt.set)
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *error: object) -> None:
        self._stack.close()

    def write(self, name: str, version: str = "1.0.0", **more: Any) -> None:
        beside = self.contracts.parent / "new"
        beside.write_text(contract(name, version, **(special().get(name, {}) | more)))
        beside.replace(self.contracts / f"{name}.yaml")

    def fill(self, name: str, count: int = DOCUMENTS, dead: int = 0) -> None:
        """Documents, of which the first ones have a price that is none."""
        self.mongo["shop"][name].insert_many(
            [
                {
                    "_id": n,
                    "title": f"{name} {n}",
                    "price": "on request" if n < dead else 9.5,
                    "genres": ["drama"],
                }
                for n in range(count)
            ]
        )

    def add_forty(self) -> None:
        """All contracts, in the states that they are to be in."""
        slow = blocking(self.mongo["shop"]["orders"], "find", 1.0)
        self._stack.enter_context(slow)
        for name in OWNERS.keys() - {"movies", "reports"}:
            copies = name == "orders"
            self.fill(name, COPIED if copies else DOCUMENTS, {"prices": DEAD, "vouchers": 2}.get(name, 0))
        self.mongo["shop"].command("create", "reports", viewOn="tickets", pipeline=[])
        for name in OWNERS:
            self.write(name)

    def add_streams(self) -> None:
        """As many contracts more as a large company has: streams, whose lanes cost least."""
        for n in range(STREAMS):
            entry = {"projection": "entry", "type": "stream", "key": f"stream:{n:03}", "fields": ["page"]}
            sync = {"direction": "redis_to_mongo", "capture": "append"}
            self.write(f"stream-{n:03}", sync=sync, redis=[entry], mongo={"collection": "shop.entries"})

    def _change(self) -> None:
        """Some life: changes that come and go."""
        at = 0
        while not self._halt.wait(0.25):
            at += 1
            for name, every in (("movies", 1), ("products", 2), ("stock", 1), ("prices", 5)):
                if at % every == 0:
                    for n in range(1 + at // 20 % 7):
                        self.mongo["shop"][name].update_one({"_id": 50 - n % 8}, {"$set": {"title": f"{at}"}})

    @contextmanager
    def page(
        self, path: str = "", *, dark: bool = False, size: dict[str, int] = DESK, complains: bool = False
    ) -> Iterator[Page]:
        """A page of the console in a fresh profile. Fails where the browser complained, unless it is to."""
        context = self.browser.new_context(
            viewport=size, color_scheme="dark" if dark else "light", reduced_motion="reduce"  # type: ignore[arg-type]
        )  # fmt: skip
        page = context.new_page()
        complaints: list[str] = []
        page.on("console", lambda said: said.type in ("error", "warning") and complaints.append(said.text))
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.goto(f"{self.daemon.url}/{path}")
        page.wait_for_function("!document.body.innerText.includes('Loading.')")
        try:
            yield page
        finally:
            context.close()
        assert complains or not [one for one in complaints if "401" not in one], complaints

    def findings(self, page: Page) -> list[str]:
        """What axe-core finds: rule, and the elements. Of a long table it reads the first rows."""
        page.evaluate(self.axe)
        found = page.evaluate(
            "axe.run({exclude: ['#rows tr:nth-child(n+9)']}, {resultTypes: ['violations']})"
        )
        return [
            f"{one['id']} ({one['impact']}): {one['help']}: {node['target']} {node['html'][:150]}"
            for one in found["violations"]
            for node in one["nodes"][:3]
        ]
