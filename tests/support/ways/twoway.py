"""Contracts that go both ways, their writers, and comparisons of both sides."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tests.support.check import wait_until
from tests.support.contracts import projection
from tests.support.scene import Document, Flow, Scene

FIELDS = {"n": {"from": "n", "type": "int"}, "a": "a", "b": "in.b", "c": "c"}


def add_two_way(
    scene: Scene,
    short: str,
    capture: str,
    fields: Mapping[str, Any] | None = FIELDS,
    *,
    type: str = "hash",
    rule: str = "merge_fields",
    sync: Mapping[str, Any] | None = None,
    shape: Mapping[str, Any] | None = None,
    **more: Any,
) -> Flow:
    """A contract over the keys `flow.key(n, "card")`."""
    said = projection(fields, type=type, **(shape or {}))
    whole = {"direction": "both", "capture": capture, "on_conflict": rule, **(sync or {})}
    return scene.add(short, said, sync=whole, **more)


def change_key(flow: Flow, end: object, *commands: tuple[Any, ...]) -> None:
    """Commands on one key in one step, with an entry in the outbox where the contract has one."""
    pipe = flow.redis.pipeline(transaction=True)
    for name, *args in commands:
        pipe.execute_command(name, flow.key(end), *args)
    if flow.sync["capture"] == "outbox":
        said = {"key": flow.key(end)}
        if commands[-1][0] == "DEL":
            said["op"] = "del"
        pipe.xadd(flow.names.control("outbox"), said)
    pipe.execute()


def hset(flow: Flow, end: object, **fields: Any) -> None:
    change_key(flow, end, ("HSET", *(part for pair in fields.items() for part in pair)))


def hdel(flow: Flow, end: object, *names: str) -> None:
    change_key(flow, end, ("HDEL", *names))


def remove_key(flow: Flow, end: object) -> None:
    change_key(flow, end, ("DEL",))


def documents(flow: Flow) -> dict[Any, Any]:
    """All documents by `_id`, without what is syncd's."""
    found = {document.pop("_id"): document for document in flow.collection.find()}
    for document in found.values():
        document.pop("_syncd", None)
    return found


def as_hash(document: Mapping[str, Any]) -> dict[str, str]:
    """What the hash of a document of FIELDS must be."""
    values = {name: document.get(name) for name in ("n", "a", "c")} | {"b": document.get("in", {}).get("b")}
    return {name: str(value) for name, value in values.items() if value is not None}


def wanted(flow: Flow) -> dict[str, dict[str, str]]:
    found = {str(end): as_hash(document) for end, document in documents(flow).items()}
    return {end: said for end, said in found.items() if said}


def wait_alike(flow: Flow, timeout: float = 40) -> None:
    """Until nothing waits, and each hash is what its document says."""

    def alike() -> bool:
        keys = (flow.names.control("outbox"), flow.names.control("marks"))
        return not any(
            flow.redis.exists(key) and waiting(flow, key) for key in keys
        ) and flow.hashes() == wanted(flow)

    def told() -> str:
        have, want = flow.hashes(), wanted(flow)
        ends = have.keys() | want.keys()
        wrong = {end: (have.get(end), want.get(end)) for end in ends if have.get(end) != want.get(end)}
        return f"alike; {len(wrong)} differ (hash, document): {str(wrong)[:600]}; {flow.lane()}"

    wait_until(alike, timeout, told)


def waiting(flow: Flow, key: str) -> int:
    kind = flow.redis.type(key)
    return int(flow.redis.xlen(key) if kind == b"stream" else flow.redis.zcard(key))


def wait_document(flow: Flow, end: object, said: Document | None, timeout: float = 20) -> None:
    wait_until(
        lambda: documents(flow).get(end) == said,
        timeout,
        lambda: f"{said}; there is {documents(flow).get(end)}; {flow.hash(end)}; {flow.lane()}",
    )


def conflicts(flow: Flow) -> list[Document]:
    """Oldest first."""
    found = flow.collection.database["syncd_conflicts"].find({"contract": flow.contract})
    return list(found.sort({"at": 1}))
