"""What tests ask about change feeds."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from tests.support.check import wait_until
from tests.support.contracts import projection
from tests.support.scene import Flow

Said = dict[str, str]


def feed(fields: Mapping[str, Any] | list[str], *, name: str = "feed", **more: Any) -> dict[str, Any]:
    """A change feed, as YAML has it."""
    return projection(fields, name=name, type="stream", key="changes", **more)


def stream_of(flow: Flow, name: str = "feed") -> str:
    return flow.key("changes", name)


def entries(flow: Flow, name: str = "feed") -> list[tuple[str, Said]]:
    """Ids and what they say, in order."""
    return [
        (entry.decode(), {field.decode(): value.decode() for field, value in said.items()})
        for entry, said in flow.redis.xrange(stream_of(flow, name))
    ]


def said(flow: Flow, *without: str, name: str = "feed") -> list[Said]:
    """What entries say, without these fields."""
    return [
        {field: value for field, value in one.items() if field not in without}
        for _, one in entries(flow, name)
    ]


def wait_count(flow: Flow, count: int, name: str = "feed") -> None:
    """Until the stream has so many entries."""
    wait_until(
        lambda: flow.redis.xlen(stream_of(flow, name)) >= count,
        60,
        lambda: f"{count} entries; {flow.redis.xlen(stream_of(flow, name))}; {flow.lane()}",
    )
    assert flow.redis.xlen(stream_of(flow, name)) == count, entries(flow, name)[-5:]


def ids(flow: Flow, name: str = "feed") -> list[tuple[int, int]]:
    """Ids as numbers, in the order of the stream."""
    return [(int(ms), int(seq)) for ms, _, seq in (entry.partition("-") for entry, _ in entries(flow, name))]


def changed(one: Said) -> list[str]:
    names: list[str] = json.loads(one["changed"])
    return names


def assert_told(flow: Flow, *, name: str = "feed") -> None:
    """A reader of a feed with a filter has been told of each document once that it came to match it, and once that it
    left, and knows all that match, as they are."""
    known: dict[str, Said] = {}
    for entry, one in entries(flow, name):
        op, ident = one["op"], one["_id"]
        assert (op in ("insert", "enter")) is (ident not in known), (entry, one)
        if op in ("leave", "delete"):
            del known[ident]
        else:
            known[ident] = one
    documents = {str(one["_id"]): str(one["n"]) for one in flow.collection.find(flow.filter)}
    assert {ident: one["n"] for ident, one in known.items()} == documents


def matched(flow: Flow, name: str = "feed") -> set[str]:
    """Documents that the feed has told of, as syncd keeps them."""
    key = flow.names.control(f"matched:{stream_of(flow, name)}")
    return {one.decode() for one in flow.redis.smembers(key)}
