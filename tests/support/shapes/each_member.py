"""Contracts that make a document of each member of a key, and what the documents must be by what Redis holds."""

from __future__ import annotations

from typing import Any

from tests.support.check import wait_until
from tests.support.scene import Flow, Scene
from tests.support.ways.outbox import add_outbox, documents, outbox, wait_empty, wait_functions

BOARD = {"each": "member", "key": "{game}", "member": "{user}", "score": "points.best"}


def live_board(scene: Scene, short: str, *, type: str = "zset", **more: Any) -> Flow:
    """Of sorted sets or sets under `flow.key(game)`; it is live, and its functions are there."""
    said = {name: value for name, value in BOARD.items() if type == "zset" or name != "score"}
    flow = add_outbox(scene, short, None, type=type, shape=said, **more)
    if not scene.daemon.process.alive:
        scene.start()
    flow.wait_live()
    wait_functions(flow)
    return flow


def members(flow: Flow) -> dict[str, Any]:
    """All documents that there must be."""
    wanted = {}
    for game in sorted(flow.keys()):
        key = flow.key(game)
        if flow.redis.type(key) == b"zset":
            for user, score in flow.redis.zrange(key, 0, -1, withscores=True):
                wanted[f"{key}:{user.decode()}"] = {
                    "game": game, "user": user.decode(), "points": {"best": score},
                }  # fmt: skip
        elif flow.redis.type(key) == b"set":
            for user in flow.redis.smembers(key):
                wanted[f"{key}:{user.decode()}"] = {"game": game, "user": user.decode()}
    return wanted


def wait_members(flow: Flow) -> None:
    """Until the outbox is empty and every document is what its member is."""
    wait_empty(flow)
    wait_until(lambda: documents(flow) == members(flow), 60, lambda: _differences(flow))


def _differences(flow: Flow) -> str:
    there, wanted = documents(flow), members(flow)
    differing = [name for name in there | wanted if there.get(name) != wanted.get(name)]
    return f"{differing[:5]} of {len(wanted)}; {flow.lane()}; {flow.dead_letters()[:2]}"


def note(flow: Flow, game: str, *users: str, op: str = "") -> None:
    """What a MULTI would have beside its commands."""
    for user in users or ("",):
        entry = {"key": flow.key(game), "member": user, "op": op}
        flow.redis.xadd(outbox(flow), {name: value for name, value in entry.items() if value})
