"""The contract as checked, frozen values. What YAML may say is defined here; everything else derives from it.

Field descriptions become the reference (`docs/reference/contract.md`) and the JSON Schema for editors.
A ValueError here reads `what|remedy` and never repeats a value, which may come from the environment.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Annotated, Any, Literal, NamedTuple

from pydantic import (
    AfterValidator,
    Field,
    PrivateAttr,
    model_validator,
)

from syncd.contract.model.consumers import Consumer
from syncd.contract.model.contract_tests import ContractTest
from syncd.contract.model.joins import Join
from syncd.contract.model.redis.projection import Projection
from syncd.contract.model.values import (
    Collections,
    DurationMs,
    Model,
    Name,
    Namespace,
    Path,
    Percent,
    TopName,
    check_cron,
    check_hours,
)


class Metadata(Model):
    """Who owns the contract and which version of it this is."""

    name: Name = Field(description="Unique among all contracts: lower-case letters, digits and hyphens.")
    version: str = Field(
        pattern=r"^(0|[1-9]\d*)\.(0|[1-9]\d*)\.(0|[1-9]\d*)(-[0-9A-Za-z.-]+)?(\+[0-9A-Za-z.-]+)?$",
        description="Semantic version of the contract, such as 1.2.0.",
    )
    owner: str = Field(min_length=1, description="The team to ask.")
    description: str = Field("", description="What the projection is for, in a sentence.")


class TimeSeries(Model):
    """A time-series collection, which is made where there is none of its name."""

    time_field: TopName = Field(
        description="Field of the document with the time; an entry without is a dead letter."
    )
    meta_field: TopName | None = Field(
        None, description="Field that identifies a series: one that seldom changes, such as the device."
    )
    granularity: Literal["seconds", "minutes", "hours"] | None = Field(
        None, description="How far apart the entries of one series are."
    )
    expire_after: DurationMs | None = Field(None, description="MongoDB removes what is older.")

    @model_validator(mode="after")
    def _are_two_fields(self) -> TimeSeries:
        if self.meta_field == self.time_field:
            raise ValueError("`meta_field` is the time field|name another field, or leave it out")
        return self


class Mongo(Model):
    """Where the documents live."""

    collection: Collections = Field(
        description="Database and collection, such as catalog.movies. Or several, from MongoDB to Redis: a list, or "
        '`*` for any text in a name, such as "tenant_*.users"; then keys hold {$db}, {$collection} or both.'
    )
    filter: Mapping[str, Any] | None = Field(
        None,
        description="A MongoDB query; only documents that match are projected. MongoDB evaluates it. "
        "`$where`, `$function` and `$accumulator` are refused.",
    )
    unique: tuple[tuple[Path, ...], ...] = Field(
        (),
        description="Field lists that a unique index of the collection covers. A key template that does not "
        "hold `{_id}` must be covered by one of them.",
    )
    with_: Mapping[TopName, Join] = Field(
        {},
        alias="with",
        max_length=10,
        description="Joined documents by the name under which they stand in the document, from MongoDB to Redis: "
        "`{customer: {collection: shop.customers, on: {customer_id: _id}, fields: [name]}}`; then `customer.name` is a "
        "path like any other. See how-to/joins.md.",
    )
    timeseries: TimeSeries | None = Field(
        None, description="For `capture: append`: the collection is a time series. See how-to/append.md."
    )


class Authority(Model):
    """Fields that only one side may change, by their names in Redis."""

    mongo: tuple[str, ...] = Field(
        (), description="Fields that MongoDB decides; a change in Redis is undone."
    )
    redis: tuple[str, ...] = Field(
        (), description="Fields that Redis decides; a change in MongoDB is undone."
    )


class DeadLetters(Model):
    """How many changes that could not be applied are kept for a person, and what happens with one more."""

    keep: int = Field(
        10_000,
        ge=1,
        le=1_000_000,
        description="Most dead letters that wait; one takes some 300 bytes of Redis.",
    )
    when_full: Literal["pause", "drop_oldest"] = Field(
        "pause",
        description="`pause` stops the lane until a person has replayed or dropped some: nothing is lost, and nothing "
        "new shows. `drop_oldest` goes on, and drops the oldest dead letters, with a warning and a metric.",
    )


class Sync(Model):
    """The direction of data, and what a deletion means."""

    direction: Literal["mongo_to_redis", "redis_to_mongo", "both"] = Field(
        "mongo_to_redis", description="Where changes come from."
    )
    capture: Literal["append", "outbox", "keyspace"] | None = Field(
        None,
        description="For `redis_to_mongo` and `both`, how changes in Redis are found. `append`: each entry of a "
        "stream becomes a document. "
        "`outbox`: the application notes each key that it changes in a stream. `keyspace`: Redis publishes keys that "
        "changed.",
    )
    on_delete: Literal["delete", "tombstone", "ignore"] = Field(
        "delete",
        description="`delete` removes the other side of what was deleted; `ignore` leaves it. `tombstone`, from Redis "
        "to MongoDB: the document stays, with the date at `_syncd.deleted`.",
    )
    on_expire: Literal["ignore", "delete"] = Field(
        "ignore",
        description="For `capture: keyspace`: whether a key that expires is a deletion. One that is evicted never is.",
    )
    on_conflict: Literal["mongo_wins", "redis_wins", "newest", "merge_fields"] | None = Field(
        None,
        description="For `both`: what happens where both sides changed since they last agreed. `mongo_wins`, "
        "`redis_wins` and `newest` take all of one side; `merge_fields` takes from each side the fields that it "
        "changed, and MongoDB's value of a field that both changed.",
    )
    authority: Authority | None = Field(None, description="For `both`: fields that belong to one side.")
    conflicts: Namespace | None = Field(
        None,
        description="For `both`: the collection of the records of conflicts; `syncd_conflicts` in the database of "
        "the documents, where nothing is said.",
    )
    apply: Literal["on_edit", "planned"] = Field(
        "on_edit",
        description="When a daemon takes up an edit of this file. `planned`: once a person has approved it, see "
        "`syncd plan` and `syncd approve`; until then the contract runs as it was, also after a restart.",
    )
    outbox_max: int | None = Field(
        None,
        ge=1,
        description="For `capture: outbox`: as long as so many entries wait, syncd's functions refuse to change a key.",
    )
    on_drop: Literal["purge", "keep", "pause"] = Field(
        "purge",
        description="For `mongo_to_redis`. What a drop or rename of the collection means: `purge` removes its keys, "
        "`keep` leaves them until new documents overwrite them, `pause` stops the lane until `syncd snapshot`. With "
        "`on_delete: ignore` they stay, as with `keep`, where nothing is said here.",
    )
    adopt: bool = Field(
        False,
        description="For `mongo_to_redis`. Whether keys that were there under the key templates before the contract "
        "become its own, so that those without a document go. Without it they stay.",
    )
    sweep_limit: Percent = Field(
        20.0,
        description="For `mongo_to_redis`. How many of its keys, in percent, a copy may remove at its end for want of "
        "a document. Where it would be more than that, and more than 100 keys, the lane pauses and removes none.",
    )
    dead_letters: DeadLetters = Field(
        DeadLetters(),
        description="How many changes that could not be applied are kept, and what happens then.",
    )
    on_unresumable_position: Literal["resnapshot", "fail"] = Field(
        "resnapshot",
        description="For `mongo_to_redis`. What to do when MongoDB can no longer resume from the stored position.",
    )


class Slo(Model):
    """What the contract promises its readers."""

    freshness: DurationMs = Field(description="How old Redis may be; above it the daemon is not ready.")


class Reconcile(Model):
    """When both sides are compared, and what is done then. Without `schedule` and `every`: on request."""

    schedule: Annotated[str, AfterValidator(check_cron)] | None = Field(
        None,
        description='A cron line in UTC, such as "*/15 * * * *"; weekdays from 0, Sunday, or sun to sat.',
    )
    every: DurationMs | None = Field(None, description="Instead of `schedule`, the time from start to start.")
    jitter: DurationMs | None = Field(
        None, description="Begin up to so much later, by chance: not all contracts at once."
    )
    check: Literal["full", "digest"] = Field(
        "full",
        description="`full` reads every document and key; `digest` only those whose digests differ, see the guide.",
    )
    mode: Literal["report", "repair"] = Field(
        "report", description="`report` reports what differs; `repair` has the lane write it again."
    )
    max_documents_per_second: int = Field(
        10_000, ge=1, description="The lane works in the same process, and MongoDB has others to serve."
    )
    quiet_hours: tuple[Annotated[str, AfterValidator(check_hours)], ...] = Field(
        (), description='When no check runs, in UTC, such as ["06:00-09:30", "22:00-00:30"].'
    )
    read_preference: Literal["primary", "primaryPreferred", "secondary", "secondaryPreferred", "nearest"] = (
        Field("primary", description="Where documents are read for the comparison.")
    )

    @model_validator(mode="after")
    def _one_plan(self) -> Reconcile:
        if self.schedule is not None and self.every is not None:
            raise ValueError("both `schedule` and `every`|keep one of them")
        if self.jitter is not None and self.schedule is None and self.every is None:
            raise ValueError("`jitter` without a `schedule`|write `schedule` or `every`, or leave it out")
        return self


class FileStamp(NamedTuple):
    """Who wrote a file, and when, as its file system says."""

    owner: str
    modified: float
    """Epoch seconds."""


@dataclass(frozen=True, slots=True)
class AsWritten:
    """What the file of a contract says, before variables are filled in: their values are not shown, and not kept."""

    collection: str = ""
    text: str = field(default="", repr=False, compare=False)
    """All of it. No part of what a contract is: a comment is no edit."""
    file: FileStamp | None = field(default=None, repr=False, compare=False)
    """None where it comes from no file."""


class Contract(Model):
    """One contract file."""

    api_version: Literal["syncd/v1"] = Field(alias="apiVersion", description="Version of the format.")
    kind: Literal["SyncContract"] = Field(description="Always SyncContract.")
    metadata: Metadata
    mongo: Mongo
    redis: tuple[Projection, ...] = Field(
        min_length=1, max_length=100, description="The shapes of each document in Redis, at most 100."
    )
    sync: Sync = Sync()
    slo: Slo | None = Field(None, description="Freshness, as a metric and an alert.")
    reconcile: Reconcile | None = Field(None, description="Comparison of both sides, and repair.")
    consumers: tuple[Consumer, ...] = Field(
        (), max_length=1_000, description="Who reads what of the keys: no edit takes it away unnoticed."
    )
    tests: tuple[ContractTest, ...] = Field(
        (),
        description="What must become of which documents, see how-to/test-a-contract.md. `syncd test` runs them.",
    )

    _written: AsWritten = PrivateAttr(AsWritten())

    def written_as(self, written: AsWritten) -> Contract:
        """This contract with what its file says."""
        self._written = written
        return self

    @property
    def text(self) -> str:
        """The file; empty where there is none."""
        return self._written.text

    @property
    def file(self) -> FileStamp | None:
        """Who wrote that, and when; None where it comes from no file."""
        return self._written.file

    @property
    def shown_collection(self) -> str:
        """The collection as its file names it, to be shown: values of the environment are not."""
        return self._written.collection or self.collection

    @property
    def collection(self) -> str:
        """The collection."""
        return ", ".join(self.patterns) or str(self.mongo.collection)

    @property
    def patterns(self) -> tuple[str, ...]:
        """Of several collections their names, or patterns of these; see contract/several.py."""
        return self.mongo.collection if isinstance(self.mongo.collection, tuple) else ()

    def of_collection(self, name: str, namespace: str, redis: tuple[Projection, ...]) -> Contract:
        """This contract for one of its collections, under a name of its own."""
        metadata = self.metadata.model_copy(update={"name": name})
        mongo = self.mongo.model_copy(update={"collection": namespace})
        found = self.model_copy(update={"metadata": metadata, "mongo": mongo, "redis": redis})
        return found.written_as(
            replace(self._written, collection="" if self.patterns else self._written.collection)
        )

    @property
    def conflicts(self) -> str:
        """Of a contract that goes both ways, the collection of the records of conflicts."""
        return self.sync.conflicts or f"{self.collection.partition('.')[0]}.syncd_conflicts"

    @property
    def captures_state(self) -> bool:
        """Whether the present content of keys goes to MongoDB, not entries of a stream."""
        return self.sync.direction != "mongo_to_redis" and self.sync.capture in ("outbox", "keyspace")

    @property
    def is_two_way(self) -> bool:
        """Whether changes of both sides go to the other."""
        return self.sync.direction == "both"

    @property
    def name(self) -> str:
        """The contract's unique name."""
        return self.metadata.name
