"""Into how many partitions a contract is split at present, and how far each of them is."""

from __future__ import annotations

from typing import Any

from syncd.contract.several import OF
from syncd.errors import UnknownContractError
from syncd.plan.partition import Partition
from syncd.stores.redis.records.claims import CONTRACTS, read_contracts
from syncd.stores.redis.records.position import SNAPSHOT, ControlKeys, Fields, read_fields
from syncd.stores.redis.store import RedisStore, translated


def partitions_of(store: RedisStore, contract: str) -> list[ControlKeys]:
    """All partitions of the present layout; one, the whole, where the contract was never split."""
    with translated():
        now: Any = store.client.hget(ControlKeys(contract, place=store.place).layout, "now")
    count = int(now.partition(b":")[0]) if now else 1
    return [ControlKeys(contract, Partition(number, count), store.place) for number in range(1, count + 1)]


def is_known(store: RedisStore, contract: str) -> bool:
    """Whether a contract of this name has ever run on this Redis."""
    keys = ControlKeys(contract, place=store.place)
    with translated():
        ran = store.client.exists(keys.layout, keys.position)
        return bool(ran or store.client.hexists(store.place + CONTRACTS, contract))


def names_of(store: RedisStore, contract: str) -> list[str]:
    """Under which names a contract has run: its own, or one for each collection where it is over several. Raises
    UnknownContractError."""
    if is_known(store, contract):
        return [contract]
    names = sorted(name for name in read_contracts(store) if name.startswith(contract + OF))
    if not names:
        raise UnknownContractError(contract)
    return names


def others_have_copied(store: RedisStore, keys: ControlKeys, fingerprint: str) -> bool:
    """Whether every other partition has copied its documents under the same contract."""
    for number in range(1, keys.partition.count + 1):
        if number == keys.partition.number:
            continue
        other = ControlKeys(keys.contract, Partition(number, keys.partition.count), keys.place)
        token, phase, theirs = read_fields(store, other, Fields.TOKEN, Fields.PHASE, Fields.FINGERPRINT)
        if not token or phase == SNAPSHOT or theirs != fingerprint:
            return False
    return True


def survey(store: RedisStore, contract: str) -> list[dict[str, Any]]:
    """Each partition for people: who holds its lease, and how far it is."""
    found = []
    for keys in partitions_of(store, contract):
        with translated():
            lease: Any = store.client.get(keys.lease)
        names = Fields.TOKEN, Fields.PHASE, Fields.COPIED, Fields.TIME
        token, phase, copied, time = read_fields(store, keys, *names)
        found.append(
            {
                "partition": str(keys.partition),
                "holder": lease.decode().rpartition(":")[0] if lease else "",
                "phase": phase if token else "",
                "copied": int(copied or 0),
                "position": time,
            }
        )
    return found


def survey_nodes(store: RedisStore, keys: ControlKeys) -> list[dict[str, str]]:
    """Each node of a cluster for people: how far its record is."""
    found = []
    for node, shown in zip(store.nodes, store.shown(), strict=False):
        (time,) = read_fields(node, keys.at(node.place), Fields.TIME)
        found.append({"node": shown, "position": time})
    return found
