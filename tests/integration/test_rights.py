"""The rights that the documentation names are enough."""

from __future__ import annotations

import re
from pathlib import Path

from syncd.embedded import RedisServer
from tests.support.check import wait_until
from tests.support.contracts import projection
from tests.support.scene import Scene

ROOT = Path(__file__).parents[2]


def test_the_documented_rights_in_redis(token: str, mongo_uri: str, tmp_path: Path) -> None:
    """A user with the commands of docs/how-to/rights.md, and keys of its own, can do all that a daemon does, also for
    a contract that is split."""
    text = (ROOT / "docs/how-to/rights.md").read_text(encoding="utf-8")
    said = re.search(r"^ACL SETUSER syncd on .*?(-@all.*?)^```$", text, re.MULTILINE | re.DOTALL)
    assert said is not None
    commands = said[1].split()
    with RedisServer() as server:
        user = server.url.replace("redis://", "redis://syncd:secret@")
        with Scene(tmp_path, token, mongo_uri, server.url, daemon_redis=user) as scene:
            keys = [f"~{token}:*", "~syncd:*", f"~{token}-films", f"~{token}-films:*"]
            scene.redis.execute_command(
                "ACL SETUSER", "syncd", "on", ">secret", "resetkeys", *keys, *commands
            )
            slug = projection({"year": {"from": "year", "type": "int"}}, name="slug", key="{slug}", ttl="1h")
            index = {"name": f"{token}-films", "fields": [{"name": "title", "type": "tag"}]}
            card = projection(["title"], type="json", index=index)
            flow = scene.add("film", card, slug, unique=[["slug"]], documents=films(50))
            for partition in ("1/1", "1/2"):
                daemon = scene.another_daemon(SYNCD_PARTITION=partition)
                daemon.start()
                daemon.wait_ready()
                flow.collection.update_one({"_id": 1}, {"$set": {"title": "new"}})
                flow.collection.update_one({"_id": 2}, {"$set": {"year": "not a number"}})
                flow.collection.delete_one({"_id": 3})
                wait_until(
                    lambda: flow.dead_letters() and not flow.redis.exists(flow.key(3)), 20, flow.dead_letters
                )
                assert not daemon.logs(level="error")
                assert daemon.terminate() == 0


def films(count: int) -> list[dict[str, object]]:
    return [{"_id": n, "slug": f"s{n}", "title": f"film {n}", "year": n} for n in range(count)]
