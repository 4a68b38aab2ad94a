"""A mistake in a path takes no keys: each document is there, and has nothing of what a projection is made of."""

from __future__ import annotations

from typing import Any

import pytest

from tests.integration.test_consent import again, say
from tests.support.contracts import projection
from tests.support.scene import Scene

COUNT = 120
PLACE = {"type": "Point", "coordinates": [13.4, 52.5]}
RIGHT: dict[str, dict[str, Any]] = {
    "hash": projection({"title": "title"}),
    "moving": projection({"title": "title"}, key="{slug}"),
    "string": projection(type="string", value={"from": "title"}),
    "list": projection(type="list", value={"from": "tags"}),
    "each": projection({"text": "parts.text"}, each="parts", key="{_id}:{parts.id}"),
    "board": projection(type="zset", key="board", member="{_id}", score="points"),
    "near": projection(type="geo", key="near", member="{_id}", position="place"),
}
WRONG: dict[str, dict[str, Any]] = {
    "hash": {"fields": {"title": "titel"}},
    "moving": {"fields": {"title": "titel"}},
    "string": {"value": {"from": "titel"}},
    "list": {"value": {"from": "tagz"}},
    "each": {"fields": {"text": "parts.txt"}},
    "board": {"score": "point"},
    "near": {"position": "plaec"},
}


def documents() -> list[dict[str, Any]]:
    return [
        {
            "_id": n, "title": f"film {n}", "slug": f"s{n}", "tags": ["a", "b"], "points": n, "place": PLACE,
            "parts": [{"id": 1, "text": "x"}],
        }
        for n in range(COUNT)
    ]  # fmt: skip


def held(scene: Scene, short: str) -> int:
    """Keys, or members of the one key that documents share."""
    keys = list(scene.redis.scan_iter(f"{scene.token}:{short}:*", count=1000))
    return sum(scene.redis.zcard(key) if scene.redis.type(key) == b"zset" else 1 for key in keys)


@pytest.mark.parametrize("short", list(RIGHT))
def test_a_mistyped_path_takes_no_keys(shared: Scene, short: str) -> None:
    """nothing_lost, nothing_silent: an edit that leaves most documents without the keys that they have pauses the lane,
    which says of how many; corrected, it goes on; allowed by a person, it takes them."""
    more = {"unique": [["slug"]]}
    flow = shared.run(short, RIGHT[short], documents=documents(), **more)
    assert held(shared, short) == COUNT
    flow.write({**RIGHT[short], **WRONG[short]}, **more)
    error = flow.wait_state("paused")["error"]
    assert f"{COUNT} of {COUNT} documents with a key" in error
    assert f"`syncd snapshot {flow.contract} --allow-removal`" in error
    assert held(shared, short) == COUNT
    flow.write(RIGHT[short], **more)
    flow.wait_live()
    assert held(shared, short) == COUNT
    flow.write({**RIGHT[short], **WRONG[short]}, **more)
    flow.wait_state("paused")
    say(shared, "snapshot", flow.contract, "--allow-removal")
    flow.wait_live()
    assert not held(shared, short)


def test_documents_that_never_had_a_key(shared: Scene) -> None:
    """nothing_lost: a copy of many documents without a key, of which some have one, is no mistake."""
    some = [{"_id": n, "title": "x"} if n % 3 else {"_id": n} for n in range(2 * COUNT)]
    flow = shared.run("sparse", projection({"title": "title"}), documents=some)
    again(shared, flow)
    assert len(flow.keys()) == len([one for one in some if "title" in one])
