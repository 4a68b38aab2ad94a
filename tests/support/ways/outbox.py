"""Contracts whose keys go to MongoDB, the application that writes them, and comparisons."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from tests.support.check import wait_until
from tests.support.contracts import projection
from tests.support.scene import Flow, Scene

NUMBERED = {"n": {"from": "n", "type": "int"}, "text": "say.text"}


def add_outbox(
    scene: Scene,
    short: str,
    fields: Mapping[str, Any] | None = NUMBERED,
    *,
    type: str = "hash",
    sync: Mapping[str, Any] | None = None,
    shape: Mapping[str, Any] | None = None,
    **more: Any,
) -> Flow:
    """A contract over the keys `flow.key(n, "card")`."""
    said = projection(fields, type=type, **(shape or {}))
    whole = {"direction": "redis_to_mongo", "capture": "outbox", **(sync or {})}
    return scene.add(short, said, sync=whole, **more)


def outbox(flow: Flow) -> str:
    return flow.names.control("outbox")


def call(flow: Flow, command: str, end: object, *args: Any) -> Any:
    """One of the functions for applications, on one key of the contract."""
    return flow.redis.execute_command("FCALL", f"syncd_{command}", 2, flow.key(end), outbox(flow), *args)


def wait_functions(flow: Flow) -> None:
    """Until the daemon has loaded them."""

    def is_there() -> bool:
        return bool(flow.redis.execute_command("FUNCTION LIST", "LIBRARYNAME", "syncd_outbox"))

    wait_until(is_there, 20, flow.lane)


def put(flow: Flow, ends: Iterable[object], n: int, pipe: Any = None) -> None:
    """Hashes in version `n`, in one MULTI that notes each; `pipe` may hold what is done in it before."""
    pipe = pipe or flow.redis.pipeline(transaction=True)
    for end in ends:
        pipe.hset(flow.key(end), mapping={"n": n, "text": f"version {n} of {end}"})
        pipe.xadd(outbox(flow), {"key": flow.key(end)})
    pipe.execute()


def remove(flow: Flow, ends: Iterable[object]) -> None:
    pipe = flow.redis.pipeline(transaction=True)
    for end in ends:
        pipe.delete(flow.key(end))
        pipe.xadd(outbox(flow), {"key": flow.key(end), "op": "del"})
    pipe.execute()


def documents(flow: Flow) -> dict[Any, Any]:
    """All documents by `_id`, without what is syncd's."""
    found = {document.pop("_id"): document for document in flow.collection.find()}
    for document in found.values():
        document.pop("_syncd", None)
    return found


def hashes(flow: Flow) -> dict[Any, Any]:
    """What the documents must be, by the hashes that are there: numbered ones, with numbers as `_id`."""
    found = flow.hashes().items()
    return {int(end): {"n": int(said["n"]), "say": {"text": said["text"]}} for end, said in found if said}


def wait_documents(flow: Flow, wanted: Mapping[Any, Any], timeout: float = 40) -> None:
    wait_until(
        lambda: documents(flow) == wanted,
        timeout,
        lambda: f"{str(wanted)[:300]}; there is {str(documents(flow))[:300]}; {flow.lane()}",
    )


def wait_like_redis(flow: Flow, timeout: float = 40) -> None:
    """Until the outbox is empty and every document is what its key says."""
    wait_empty(flow, timeout)
    wait_documents(flow, hashes(flow), timeout)


def wait_empty(flow: Flow, timeout: float = 40) -> None:
    wait_until(
        lambda: not flow.redis.xlen(outbox(flow)),
        timeout,
        lambda: f"an empty outbox; {flow.redis.xlen(outbox(flow))} wait; {flow.lane()}",
    )
