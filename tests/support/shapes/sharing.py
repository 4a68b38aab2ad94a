"""What tests ask about hashes that several contracts share."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from tests.support.check import wait_until
from tests.support.contracts import projection
from tests.support.scene import Flow, Scene

Hash = dict[str, str]


class People:
    """Hashes `NAME:_id`, of which each contract of a test has some fields."""

    def __init__(self, scene: Scene, name: str) -> None:
        self._scene, self._name = scene, name

    def part(
        self, fields: Mapping[str, Any] | list[str], *, name: str = "card", **more: Any
    ) -> dict[str, Any]:
        """A projection with some of them, as YAML has it."""
        return projection(fields, name=name, key=f"/{self._name}:{{_id}}", share=True, **more)

    def key(self, ident: object) -> str:
        return f"{self._scene.token}:{self._name}:{ident}"

    def one(self, ident: object) -> Hash:
        """A hash as text; empty when there is none."""
        reply = self._scene.redis.hgetall(self.key(ident))
        return {name.decode(): value.decode() for name, value in reply.items()}

    def wait(self, ident: object, wanted: Hash) -> None:
        wait_until(lambda: self.one(ident) == wanted, 20, lambda: f"{wanted}; there is {self.one(ident)}")

    def all(self) -> dict[str, Hash]:
        start = self.key("")
        found = {
            key.decode().removeprefix(start) for key in self._scene.redis.scan_iter(f"{start}*", count=1000)
        }
        return {ident: self.one(ident) for ident in found}

    def wait_all(
        self, flows: Mapping[Flow, Iterable[str]], foreign: Mapping[str, Hash] | None = None
    ) -> None:
        """Until each hash has the fields of the documents of these contracts, and no other."""
        wait_until(
            lambda: self.all() == wanted(flows, foreign),
            20,
            lambda: f"{wanted(flows, foreign)}; there is {self.all()}",
        )


def wanted(flows: Mapping[Flow, Iterable[str]], foreign: Mapping[str, Hash] | None = None) -> dict[str, Hash]:
    """What the documents of these contracts make of all hashes: of each contract its fields."""
    found: dict[str, Hash] = {ident: dict(said) for ident, said in (foreign or {}).items()}
    for flow, fields in flows.items():
        for one in flow.collection.find(flow.filter or {}):
            said = {name: str(one[name]) for name in fields if one.get(name) is not None}
            if said:
                found.setdefault(str(one["_id"]), {}).update(said)
    return found
