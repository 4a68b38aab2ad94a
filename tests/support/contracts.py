"""Contract files for tests: a line or two to write, and everything in them under the test's own token."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from syncd.contract.model.contract import Contract

Fields = Mapping[str, Any] | Sequence[str] | str


def projection(
    fields: Fields | None = None, *, name: str = "card", type: str = "hash", key: str = "{_id}", **more: Any
) -> dict[str, Any]:
    """One projection, as YAML has it. `key` is what follows the prefix that the directory gives it."""
    projection = {"projection": name, "type": type, "key": key, **more}
    return projection if fields is None else {**projection, "fields": fields}


def said(
    *projections: Mapping[str, Any], name: str = "users", collection: str = "shop.users", **more: Any
) -> dict[str, Any]:
    """A contract, as YAML has it. `more`: as `sync`, or instead of what is here."""
    return {
        "apiVersion": "syncd/v1",
        "kind": "SyncContract",
        "metadata": {"name": name, "version": "1.0.0", "owner": "tests"},
        "mongo": {"collection": collection},
        "redis": list(projections),
        **more,
    }


def model(*projections: Mapping[str, Any], **more: Any) -> Contract:
    """The same as the model has it, unchecked by lint."""
    return Contract.model_validate(said(*projections, **more), by_alias=True, by_name=False)


def from_redis(capture: str, **sync: Any) -> dict[str, Any]:
    """`sync` of a contract whose keys go to MongoDB."""
    return {"direction": "redis_to_mongo", "capture": capture, **sync}


@dataclass(frozen=True)
class Names:
    """What a contract called `short` is called, and where it may put things."""

    token: str
    short: str

    @property
    def contract(self) -> str:
        return f"{self.token}-{self.short}"

    @property
    def database(self) -> str:
        return self.token

    @property
    def collection(self) -> str:
        return self.short

    def prefix(self, projection: str) -> str:
        return f"{self.token}:{self.short}:{projection}:"

    def whole_key(self, projection: str, key: str) -> str:
        """What stands behind a `/` is behind the token alone, for keys that several contracts have."""
        return f"{self.token}:{key[1:]}" if key.startswith("/") else self.prefix(projection) + key

    def control(self, suffix: str) -> str:
        """A key that syncd keeps for itself, such as `position`."""
        return f"syncd:{{{self.contract}}}:{suffix}"


class ContractDirectory:
    """The directory that a daemon watches. A file appears, changes and goes in one step, as with a good editor."""

    def __init__(self, path: Path, token: str) -> None:
        path.mkdir(parents=True, exist_ok=True)
        self.path = path
        self.token = token

    def write(self, short: str, *projections: Mapping[str, Any], **more: Any) -> Names:
        """Writes, or replaces, a contract. `more`: see `text`, and `sync` and `slo`."""
        names = Names(self.token, short)
        self.write_text(short, self.text(names, projections, **more))
        return names

    @staticmethod
    def text(
        names: Names,
        projections: Sequence[Mapping[str, Any]],
        *,
        filter: Mapping[str, Any] | None = None,
        unique: Sequence[Sequence[str]] | None = None,
        collection: str | None = None,
        timeseries: Mapping[str, Any] | None = None,
        joins: Mapping[str, Any] | None = None,
        version: str = "1.0.0",
        **more: Any,
    ) -> str:
        """The file. JSON is YAML, and the contract format says no more than JSON can."""
        mongo: dict[str, Any] = {"collection": collection or f"{names.database}.{names.collection}"}
        if filter is not None:
            mongo["filter"] = filter
        if unique is not None:
            mongo["unique"] = unique
        if timeseries is not None:
            mongo["timeseries"] = timeseries
        if joins is not None:
            mongo["with"] = joins
        redis = [{**one, "key": names.whole_key(one["projection"], one["key"])} for one in projections]
        metadata = {"name": names.contract, "version": version, "owner": "tests"}
        return json.dumps(said(*redis, metadata=metadata, mongo=mongo, **more), indent=2)

    def file(self, short: str) -> Path:
        return self.path / f"{short}.yaml"

    def write_text(self, short: str, text: str) -> None:
        beside = self.path.parent / f"{short}.new"
        beside.write_text(text)
        beside.replace(self.file(short))

    def remove(self, short: str) -> None:
        self.file(short).unlink()
