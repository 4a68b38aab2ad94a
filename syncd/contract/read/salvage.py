"""Makes a contract with mistakes whole enough to be checked further, so that one run finds every mistake.

Stand-ins take the place of what the model refused. They are remembered: no rule reports on them, and such a
contract never leaves the loader.
"""

from __future__ import annotations

from copy import deepcopy
from typing import Any

from pydantic import ValidationError

from syncd.contract.model.contract import Contract
from syncd.contract.read.loaded import LoadedContract, loaded_contract
from syncd.contract.read.mistakes import document_path, own_errors, value_at
from syncd.contract.read.source import Path, Source

_ROUNDS = 4
"""A stand-in may reveal mistakes around it; the model is no deeper than this."""

_PROJECTION = {"projection": "stand-in", "type": "hash", "key": "stand-in:{_id}", "fields": "all"}
_JOIN = {"collection": "stand.in", "on": {"stand-in": "_id"}, "fields": ["stand-in"]}
_STAND_INS: dict[tuple[str, ...], Any] = {
    ("apiVersion",): "syncd/v1",
    ("kind",): "SyncContract",
    ("metadata",): {"name": "stand-in", "version": "0.0.0", "owner": "-"},
    ("metadata", "name"): "stand-in",
    ("metadata", "version"): "0.0.0",
    ("metadata", "owner"): "-",
    ("metadata", "description"): "",
    ("mongo",): {"collection": "stand.in"},
    ("mongo", "collection"): "stand.in",
    ("mongo", "filter"): None,
    ("mongo", "unique"): (),
    ("mongo", "with"): {},
    ("mongo", "with", "*"): _JOIN,
    ("mongo", "with", "*", "collection"): "stand.in",
    ("mongo", "with", "*", "on"): {"stand-in": "_id"},
    ("mongo", "with", "*", "fields"): ["stand-in"],
    ("mongo", "timeseries"): None,
    ("redis",): [_PROJECTION],
    ("redis", "*"): _PROJECTION,
    ("redis", "*", "projection"): "stand-in",
    ("redis", "*", "type"): "hash",
    ("redis", "*", "key"): "stand-in:{_id}",
    ("redis", "*", "ttl"): None,
    ("redis", "*", "fields"): "all",
    ("redis", "*", "fields", "*"): {"from": "_id"},
    ("redis", "*", "value"): {"from": "_id"},
    ("redis", "*", "keep"): None,
    ("redis", "*", "index"): None,
    ("redis", "*", "index", "name"): "stand-in",
    ("redis", "*", "index", "fields"): [{"name": "stand-in", "type": "text"}],
    ("redis", "*", "index", "fields", "*"): {"name": "stand-in", "type": "text"},
    ("sync",): {},
    ("sync", "dead_letters"): {},
    ("slo",): None,
    ("reconcile",): None,
    ("consumers",): (),
    ("tests",): (),
}
"""By place, `*` for any entry. A key without a stand-in takes that of its mapping. No entry of a list is removed, for
places of later entries would shift."""


def salvage(source: Source, error: ValidationError) -> LoadedContract | None:
    """The contract with stand-ins, or None where too little is left."""
    value = deepcopy(source.value)
    stand_ins: set[Path] = set(source.failed)
    for path in source.failed:
        # A filter is whole with any value in it.
        if path[:2] != ("mongo", "filter"):
            stand_ins |= _put_stand_in(value, path)
    for _ in range(_ROUNDS):
        for details in own_errors(error):
            path = document_path(details["loc"], value)
            if details["type"] == "extra_forbidden":
                _drop(value, path)
            else:
                stand_ins |= _put_stand_in(value, path)
        try:
            contract = Contract.model_validate(value, by_alias=True, by_name=False)
        except ValidationError as next_error:
            error = next_error
        else:
            return loaded_contract(contract, source, frozenset(stand_ins))
    return None


def _put_stand_in(value: Any, path: Path) -> set[Path]:
    """Put a stand-in at `path`, or at the nearest place above that has one; returns its place."""
    for length in range(len(path), 0, -1):
        here = path[:length]
        holder = value_at(value, here[:-1])
        pattern = next((pattern for pattern in _STAND_INS if _fits(here, pattern)), None)
        if pattern and _holds(holder, here[-1]):
            holder[here[-1]] = deepcopy(_STAND_INS[pattern])
            return {here}
    return set()


def _fits(path: Path, pattern: tuple[str, ...]) -> bool:
    return len(path) == len(pattern) and all(
        want in ("*", part) for part, want in zip(path, pattern, strict=True)
    )


def _drop(value: Any, path: Path) -> None:
    holder = value_at(value, path[:-1])
    if isinstance(holder, dict):
        holder.pop(path[-1], None)


def _holds(holder: Any, part: str | int) -> bool:
    if isinstance(holder, dict):
        return isinstance(part, str)
    return isinstance(holder, list) and isinstance(part, int)
