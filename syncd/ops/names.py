"""What of a contract's names is somebody else's in Redis: keys under its templates, templates, indexes, aliases."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from typing import Any

from syncd.contract.model import Contract
from syncd.contract.template import KeyTemplate, template_of
from syncd.ops.conditions import Finding
from syncd.plan.change import Retired
from syncd.plan.claims import INDEX, KEY, key_claim
from syncd.plan.keys import parse_key
from syncd.stores.capabilities import Capabilities
from syncd.stores.claims import CONTRACTS, read_claims
from syncd.stores.position import ControlKeys
from syncd.stores.redis import RedisStore, translated
from syncd.stores.scan import KeyScan
from syncd.stores.search import Search

SAMPLES = 3
LONGEST_S = 10.0
"""For a Redis with many keys: a person waits."""


class Names:
    """Of one Redis, for a set of contracts."""

    def __init__(self, redis: RedisStore, server: Capabilities, contracts: list[Contract]) -> None:
        self._redis, self._server = redis, server
        self._ours = {contract.name for contract in contracts}
        _, self._claims = read_claims(redis)

    def look(self, contract: Contract) -> Iterator[Finding]:
        """Of one contract from MongoDB to Redis."""
        for projection in contract.redis:
            template = template_of(projection)
            claim = key_claim(template, projection.projection, projection.type)
            yield from self._taken(contract, [name for name in self._claims if claim.meets(name)])
            shape = Retired(projection.projection, projection.type, template)
            if not contract.sync.adopt:
                yield from self._keys(contract, shape)
            if projection.index is not None:
                yield from self._taken(contract, [INDEX + projection.index.name])

    def _taken(self, contract: Contract, names: list[str]) -> Iterator[Finding]:
        """By a contract that is not of this set, and has not left."""
        for name in names:
            claim = self._claims.get(name)
            if claim and not claim.get("free") and claim["contract"] not in self._ours:
                other = claim["contract"]
                what = f"`{name}` belongs to contract {other}, which is not among these files"
                remedy = f"choose another name, or remove {other} from the files of its daemon; `syncd remove {other}`"
                yield Finding("data", what, remedy, (), (contract.name,))

    def _keys(self, contract: Contract, shape: Retired) -> Iterator[Finding]:
        """Keys that were there before the contract."""
        claim = self._claims.get(KEY + shape.template.text)
        count, samples, whole = (
            self._noted(contract) if claim and not claim.get("new") else self._found(shape)
        )
        if count:
            shown = ", ".join(f"`{sample}`" for sample in samples)
            at_least = "" if whole else "at least "
            yield Finding(
                "data",
                f"{at_least}{count} keys under `{shape.template.shown}` were not written by syncd, such as {shown}; "
                "they stay, unless a document has such a key, which then replaces what it holds",
                "choose another prefix; or, where they may go, `sync: {adopt: true}` or `syncd snapshot NAME --adopt`",
                (), (contract.name,),
            )  # fmt: skip

    def _noted(self, contract: Contract) -> tuple[int, list[str], bool]:
        key = ControlKeys(contract.name).foreign
        with translated():
            count: Any = self._redis.client.scard(key)
            samples: Any = self._redis.client.srandmember(key, SAMPLES)
        return int(count), [sample.decode(errors="replace") for sample in samples], True

    def _found(self, shape: Retired) -> tuple[int, list[str], bool]:
        """How many, some of them, and whether that is all."""
        count, samples, end = 0, list[str](), time.monotonic() + LONGEST_S
        before = [KeyTemplate.recorded(text) for text in self._written()]
        for page in KeyScan(self._redis, ControlKeys("")).keys(shape):
            found = [
                key for key in page
                if parse_key(shape.template, key) is not None
                and not any(parse_key(template, key) is not None for template in before)
            ]  # fmt: skip
            count += len(found)
            samples += [key.decode(errors="replace") for key in found[: SAMPLES - len(samples)]]
            if time.monotonic() > end:
                return count, samples, False
        return count, samples, True

    def _written(self) -> set[str]:
        """Templates that contracts have or had."""
        written = {name.removeprefix(KEY) for name in self._claims if name.startswith(KEY)}
        with translated():
            known: Any = self._redis.client.hkeys(CONTRACTS)
            for name in known:
                if not name.startswith(b"set "):
                    said: Any = self._redis.client.hget(ControlKeys(name.decode()).position, "owned")
                    written |= {template for _, template, _ in json.loads(said or b"[]")}
        return written

    def indexes(self, contract: Contract) -> Iterator[Finding]:
        """Of one contract that writes keys to Redis: names of indexes that are somebody's."""
        for projection in contract.redis:
            if projection.index is not None and self._server.search:
                yield from self._index(contract, projection.index.name)

    def _index(self, contract: Contract, name: str) -> Iterator[Finding]:
        seen = Search(self._redis).look(name)
        if seen is None:
            return
        with translated():
            registered: Any = self._redis.client.hvals(ControlKeys(contract.name).indexes)
        ours = {said["name"]: said.get("shape", "") for said in map(json.loads, registered)}
        if ours.get(seen.name) in ("", seen.shape):
            return
        if seen.name == name:
            what, command = (
                f"the index `{name}` is there and not syncd's",
                f"`FT.DROPINDEX {name}`, without DD",
            )
        elif self._claims.get(INDEX + name) and seen.name.rpartition(":")[0] == name:
            return
        else:
            what = f"the alias `{name}` is there and leads to `{seen.name}`, which is not syncd's"
            command = f"`FT.ALIASDEL {name}`"
        remedy = f"choose another `index.name`, or {command}, where no other client needs it; syncd leaves it alone"
        yield Finding("data", what, remedy, (), (contract.name,))
