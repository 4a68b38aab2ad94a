"""What a contract knows of its dead letters besides the stream of them, made again where it was lost.

`letters` says which document has which dead letter, `stale` which keys wait behind one. Both can be evicted, or removed
by hand, while the stream of dead letters stays: then a document would get a second dead letter, and an update would go
on top of a state that is older than it.
"""

from __future__ import annotations

from typing import Any

from syncd.stores.redis.records.position import ControlKeys
from syncd.stores.redis.store import RedisStore, translated

PAGE = 1000


def restore_dead_letters(store: RedisStore, control: ControlKeys) -> int:
    """To be called under the lease, before anything is written; returns how many dead letters were unknown.

    A key that was written whole since its dead letter counts as stale again: that costs a read of its document, once.
    """
    with translated():
        pipe = store.client.pipeline(transaction=True)
        pipe.xlen(control.dead)
        pipe.hlen(control.dead_by_document)
        waiting, known = pipe.execute()
        stale = waiting and any(node.client.exists(control.at(node.place).stale) for node in store.nodes)
        if not waiting or (known >= waiting and stale):
            return 0
        start, restored = "-", 0
        while found := _read(store, control, start):
            restored += _page(store, control, found, names=known < waiting, stale=not stale)
            start = f"({found[-1][0].decode()}"
        return restored


def _read(store: RedisStore, control: ControlKeys, start: str) -> Any:
    return store.client.xrange(control.dead, start, count=PAGE)


def _page(store: RedisStore, control: ControlKeys, found: Any, *, names: bool, stale: bool) -> int:
    pipe = store.client.pipeline(transaction=False)
    for entry, said in found:
        if names:
            pipe.hset(control.dead_by_document, _name(said), entry)
    new = sum(pipe.execute())
    if stale and (keys := [said[b"key"] for _, said in found if said.get(b"key")]):
        for node, some in store.by_node(keys):
            node.client.sadd(control.at(node.place).stale, *some)
    if stale and store.place:
        _note_members(store, control, found)
    return int(new)


def _note_members(store: RedisStore, control: ControlKeys, found: Any) -> None:
    """`letters` is at the home, and every node has to know which documents are members as they were before."""
    for node in store.nodes:
        node.client.sadd(control.at(node.place).stale, *(_name(said) for _, said in found))


def _name(said: dict[bytes, bytes]) -> bytes:
    return b"%b %b" % (said.get(b"projection", b""), said.get(b"id", b""))
