"""What was last synced of each key, and so what a key was that is not there any more."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from syncd.plan.to_mongo.gone import Gone, why_gone
from syncd.plan.to_mongo.state import FoundKey, StatePlan
from syncd.stores.redis.records.lease import Lease
from syncd.stores.redis.records.position import Fields, read_fields
from syncd.stores.redis.store import RedisStore, translated
from syncd.to_mongo.state.keys.key_sync import KeySync
from syncd.to_mongo.state.state_writer import StateWriter
from syncd.to_mongo.state.store import StateStore


def _keys_of(plan: StatePlan) -> str:
    """Of which keys, and of which collection, digests are."""
    return f"{plan.contract.collection} {plan.template.text}"


def is_under_this_form(plan: StatePlan, fingerprint: str, synced: str) -> bool:
    """Whether every key was written under the present form of the contract, by what the position says."""
    return synced == _keys_of(plan) and fingerprint == plan.fingerprint


class Memory:
    """Of one contract: a digest a key, and under which form of the contract all keys were written. Written under the
    lease."""

    def __init__(self, redis: RedisStore, plan: StatePlan, lease: Lease) -> None:
        self._redis, self._plan, self._lease = redis, plan, lease

    def begin(self) -> bool:
        """Whether every key was written under the present form of the contract. What belongs to other keys, or to
        another collection, says nothing and is forgotten."""
        nodes = list(zip(self._redis.nodes, self._lease.parts, strict=True))
        kept = [self._is_of_these_keys(node, part) for node, part in nodes]
        if not all(kept):
            self.note({}, {Fields.FINGERPRINT: "", Fields.SYNCED: _keys_of(self._plan)})
            return False
        wanted = [self._plan.fingerprint]
        return all(read_fields(node, part.keys, Fields.FINGERPRINT) == wanted for node, part in nodes)

    def _is_of_these_keys(self, node: RedisStore, part: Lease) -> bool:
        if read_fields(node, part.keys, Fields.SYNCED) == [_keys_of(self._plan)]:
            return True
        with translated():
            node.client.unlink(part.keys.synced)
        return False

    def note(self, digests: Mapping[bytes, str], fields: Mapping[str, str] | None = None) -> None:
        """MongoDB holds this of these keys; of "" it holds nothing any more. `fields` go to the position."""
        pairs: list[tuple[Any, str]] = [*(fields or {}).items()]
        found: dict[int, list[tuple[bytes, str]]] = {}
        for key, digest in digests.items():
            found.setdefault(self._redis.node_of(key), []).append((key, digest))
        for number in range(len(self._lease.parts)) if fields else found:
            part, args = self._lease.parts[number], [self._lease.ttl_ms, 2 * len(pairs)]
            args += [word for pair in (*pairs, *found.get(number, ())) for word in pair]
            part.call("syncd_synced", [part.keys.synced], args)

    def why_gone(self, digests: Mapping[bytes, str], policy: str) -> dict[bytes, Gone]:
        """Why keys are not there that went while no daemon listened, by what they were when they were last synced.

        A key that had no expiry, or one that has not come yet, was deleted, unless this Redis evicts such keys: then it
        is not known, and nothing is taken for a deletion.
        """
        found: dict[bytes, Gone] = {}
        for node, keys in self._redis.by_node(list(digests)):
            now = node.clock_us() // 1000  # by which the server lets its keys expire
            found |= {key: why_gone(int(digests[key].partition(":")[2]), now, policy) for key in keys}
        return found


class KeyspaceSync(KeySync):
    """Leaves out what MongoDB holds already, and keeps the digests of what was read."""

    def __init__(self, plan: StatePlan, store: StateStore, writer: StateWriter, most_keys: int) -> None:
        super().__init__(plan, store, writer, most_keys)
        self._everything = False
        self.read: dict[bytes, FoundKey] = {}
        """What keys were at their last read."""

    def begin(self, *, everything: bool) -> None:
        """Other keys now; `everything`: also those that MongoDB holds already."""
        self._everything = everything
        self.read = {}

    def _is_known(self, key: bytes, found: FoundKey) -> bool:
        # The content has gone by now, or is in a change.
        known = self.read[key].known if key in self.read else found.known
        self.read[key] = found._replace(content=None, known=known)
        if self._everything or not found.is_there:
            return False
        if self._plan.expires_at is not None:
            return found.digest == found.known
        # An application that only moves the expiry, again and again, has changed nothing that MongoDB holds.
        return found.digest.partition(":")[0] == found.known.partition(":")[0]
