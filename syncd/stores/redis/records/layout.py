"""Into how many partitions a contract is split at present, and how far each of them is."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from redis.exceptions import RedisError, ResponseError

from syncd.contract.several import OF
from syncd.errors import UnknownContractError
from syncd.plan.partition import Partition
from syncd.stores.redis.records.claims import CONTRACTS, read_contracts
from syncd.stores.redis.records.position import SNAPSHOT, ControlKeys, Fields, read_fields
from syncd.stores.redis.store import RedisStore, translated

SERVES = "serves"
"""What a daemon says of a lane that it serves, see `serving`; any other word is why it does not."""


def partitions_of(store: RedisStore, contract: str) -> list[ControlKeys]:
    """All partitions of the present layout; one, the whole, where the contract was never split."""
    with translated():
        now: Any = store.client.hget(ControlKeys(contract, place=store.place).layout, "now")
    return _partitions(store, contract, now)


def _partitions(store: RedisStore, contract: str, now: bytes | None) -> list[ControlKeys]:
    count = int(now.partition(b":")[0]) if now else 1
    return [ControlKeys(contract, part, store.place) for part in Partition(count=count).all]


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
    """Each partition for people, see `survey_all`."""
    return survey_all(store, [contract])[contract]


def survey_all(store: RedisStore, contracts: Sequence[str]) -> dict[str, list[dict[str, Any]]]:
    """Each partition of each contract for people: who holds its lease, what that daemon says of it (empty: it serves;
    None: nothing), how far it is, and how many dead letters the contract has."""
    layouts = _ask(
        store, [("HGET", ControlKeys(contract, place=store.place).layout, "now") for contract in contracts]
    )
    parts = [
        keys for name, now in zip(contracts, layouts, strict=True) for keys in _partitions(store, name, now)
    ]
    replies = _ask(store, [command for keys in parts for command in _questions(keys)])
    found: dict[str, list[dict[str, Any]]] = {contract: [] for contract in contracts}
    for at, keys in enumerate(parts):
        found[keys.contract].append(_part(keys, *replies[4 * at : 4 * at + 4]))
    return found


def survey_nodes(store: RedisStore, keys: ControlKeys) -> list[dict[str, str]]:
    """Each node of a cluster for people: how far its record is; where keys go to MongoDB, when one was last read, in
    epoch seconds."""
    found = []
    for node, shown in zip(store.nodes, store.shown(), strict=False):
        time, clock = read_fields(node, keys.at(node.place), Fields.TIME, Fields.CLOCK)
        found.append({"node": shown, "position": time or clock[:-6]})
    return found


def shown_partitions(store: RedisStore, contracts: Iterable[str]) -> Iterator[str]:
    """How far each partition is on each node of a cluster, for people; nothing where none is split."""
    for keys in (keys for contract in contracts for keys in partitions_of(store, contract)):
        if store.place and not keys.partition.is_whole:
            times = [(node, *read_fields(node, keys.at(node.place), Fields.TIME)) for node in store.nodes]
            yield f"partition {keys}: " + ", ".join(f"{node} {time or 'not begun'}" for node, time in times)


def _ask(store: RedisStore, commands: Sequence[Sequence[str]]) -> list[Any]:
    """The replies, in one trip; None where a key is of another type than it should be."""
    pipe = store.client.pipeline(transaction=False)
    for command in commands:
        pipe.execute_command(*command)
    with translated():
        replies = pipe.execute(raise_on_error=False)
        for reply in replies:
            if isinstance(reply, RedisError) and not isinstance(reply, ResponseError):
                raise reply
    return [None if isinstance(reply, ResponseError) else reply for reply in replies]


def _questions(keys: ControlKeys) -> list[Sequence[str]]:
    names = Fields.TOKEN, Fields.PHASE, Fields.COPIED, Fields.TIME
    return [
        ("GET", keys.lease), ("GET", keys.said), ("HMGET", keys.position, *names), ("XLEN", keys.dead)
    ]  # fmt: skip


def _part(
    keys: ControlKeys, lease: bytes | None, said: bytes | None, position: Any, dead: Any
) -> dict[str, Any]:
    holder, _, epoch = (lease or b"").decode().rpartition(":")
    speaker, _, word = (said or b"").decode(errors="replace").partition(" ")
    token, phase, copied, time = ((text or b"").decode() for text in position or [b""] * 4)
    says = None if not lease or speaker != lease.decode() else "" if word == SERVES else word
    return {
        "partition": str(keys.partition),
        "holder": holder,
        "host": holder.partition("/")[0],
        "epoch": epoch,
        "says": says,
        "phase": phase if token else "",
        "copied": int(copied or 0),
        "position": time,
        "dead_letters": int(dead or 0),
    }
