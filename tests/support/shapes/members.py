"""What documents are members of, by rules of its own, and what Redis holds: nothing here comes from syncd."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

from bson import Decimal128
from redis import Redis

from tests.support.check import wait_until
from tests.support.scene import Flow

BOARD = {"projection": "board", "type": "zset", "key": "{game}", "member": "{_id}", "score": "points"}
TAGS = {"projection": "tags", "type": "set", "key": "{tags[]}", "member": "{_id}"}
NEAR = {"projection": "near", "type": "geo", "key": "{game}", "member": "{_id}", "position": "at"}
RECALL = {
    "projection": "recall", "type": "vectorset", "key": "{game}", "member": "{_id}",
    "vector": {"from": "v", "dims": 3}, "quantisation": "none", "attributes": {"kind": "kind", "points": "points"},
}  # fmt: skip

Boards = dict[str, dict[str, Any]]
"""Key without its prefix -> member -> score, or position, or vector; None where it has no more."""


def player(number: int, **more: Any) -> dict[str, Any]:
    return {
        "_id": number, "game": "chess", "points": number, "tags": ["a", "b", "a"], "at": [13.4, 52.5],
        "v": [1.0, 2.0, 3.0], "kind": "x", **more,
    }  # fmt: skip


def wanted(flow: Flow, said: Mapping[str, Any]) -> Boards:
    """By the documents."""
    found: Boards = {}
    for document in flow.collection.find(flow.filter or {}):
        value = _value(document, said)
        if value is None:
            continue
        member = _filled(said["member"], document)
        array = re.search(r"\{(\w+)\[\]\}", said["key"])
        elements = [*dict.fromkeys(document.get(array[1]) or [])] if array else [None]
        for element in elements:
            key = said["key"].replace(array[0], str(element)) if array else said["key"]
            found.setdefault(_filled(key, document), {})[member] = value if said["type"] != "set" else None
    return found


def _value(document: Mapping[str, Any], said: Mapping[str, Any]) -> Any:
    if said["type"] == "set":
        return True
    path = said.get("score") or said.get("position") or said["vector"]["from"]
    value = document.get(path)
    if isinstance(value, Decimal128):
        return float(value.to_decimal())
    return float(value) if isinstance(value, int) else value


def _filled(template: str, document: Mapping[str, Any]) -> str:
    return re.sub(r"\{(\w+)\}", lambda match: str(document[match[1]]), template)


def found(redis: Redis, prefix: str, kind: str) -> Boards:
    """By Redis."""
    boards: Boards = {}
    for key in redis.scan_iter(f"{prefix}*", count=1000):
        boards[key.decode().removeprefix(prefix)] = _members(redis, key, kind)
    return boards


def _members(redis: Redis, key: bytes, kind: str) -> dict[str, Any]:
    if redis.type(key) != {"geo": b"zset"}.get(kind, kind.encode()):
        return {}
    if kind == "zset":
        return {member.decode(): score for member, score in redis.zrange(key, 0, -1, withscores=True)}  # type: ignore[misc]
    if kind == "set":
        return {member.decode(): None for member in redis.smembers(key)}  # type: ignore[union-attr]
    if kind == "geo":
        members: Any = redis.zrange(key, 0, -1)
        at: Any = redis.geopos(key, *members)
        return {
            member.decode(): [round(one, 3) for one in where]
            for member, where in zip(members, at, strict=True)
            if where is not None  # it went between the two commands
        }
    names: Any = redis.execute_command("VRANDMEMBER", key, 100_000)
    vectors: dict[str, Any] = {name.decode(): redis.execute_command("VEMB", key, name) for name in names}
    # One may go between the two commands.
    return {name: [round(float(x), 3) for x in vector] for name, vector in vectors.items() if vector}


def members_of(flow: Flow, projection: str) -> Boards:
    """What a projection has in Redis."""
    said = next(one for one in flow.projections if one["projection"] == projection)
    return found(flow.redis, flow.names.prefix(projection), said["type"])


def wait_members(flow: Flow, timeout: float = 60) -> None:
    """Until Redis holds what the documents say, in every projection."""
    for said in flow.projections:
        wait_until(
            lambda said=said: members_of(flow, said["projection"]) == wanted(flow, said),  # type: ignore[misc]
            timeout,
            lambda said=said: (  # type: ignore[misc]
                f"{said['projection']}: {members_of(flow, said['projection'])} should be {wanted(flow, said)}; "
                f"{flow.lane()}"
            ),
        )


def boards_of(flow: Flow, projection: str) -> dict[str, set[str]]:
    """Which members its keys have by the map."""
    prefix = flow.names.prefix(projection)
    template = next(one["key"] for one in flow.projections if one["projection"] == projection)
    said: Any = flow.redis.hgetall(flow.names.control(f"members:{projection}:{prefix}{template}"))
    found: dict[str, set[str]] = {}
    for name, packed in said.items():
        pairs = json.loads(packed) if not name.startswith(b":") else []
        for key, member in zip(pairs[::2], pairs[1::2], strict=True):
            found.setdefault(key.removeprefix(prefix), set()).add(member)
    return found


def best(flow: Flow, said: Any) -> dict[str, dict[str, float]]:
    """By the documents."""
    sign = -1 if "highest" in said["keep"] else 1
    (most,) = said["keep"].values()
    return {
        key: dict(sorted(board.items(), key=lambda one: sign * one[1])[:most])
        for key, board in wanted(flow, said).items()
    }


def wait_best(flow: Flow) -> None:
    """Until each board has its best members, and the map says so of exactly these."""
    for said in flow.projections:
        name = said["projection"]
        wait_until(
            lambda said=said, name=name: members_of(flow, name) == best(flow, said),  # type: ignore[misc]
            60,
            lambda said=said, name=name: f"{members_of(flow, name)}, not {best(flow, said)}; {flow.lane()}",  # type: ignore[misc]
        )
        assert boards_of(flow, name) == {key: set(board) for key, board in members_of(flow, name).items()}
