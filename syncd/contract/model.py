"""The contract as checked, frozen values. What YAML may say is said here; everything else derives from it.

Field descriptions become the reference (`docs/reference/contract.md`) and the JSON Schema for editors.
A ValueError here reads `what|remedy` and never repeats a value, which may come from the environment.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Annotated, Any, Literal, TypeAlias

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Discriminator,
    Field,
    Tag,
    field_validator,
    model_validator,
)

from syncd.contract.cron import parse_cron

DURATION_PATTERN = r"([0-9]{1,9}(?:\.[0-9]{1,9})?)(ms|s|m|h|d|w)"
_DURATION = re.compile(DURATION_PATTERN)
_HOURS = re.compile(r"([0-9]{2}):([0-9]{2})-([0-9]{2}):([0-9]{2})")
_UNIT_MS = {"ms": 1, "s": 1_000, "m": 60_000, "h": 3_600_000, "d": 86_400_000, "w": 604_800_000}


def parse_duration(value: Any) -> int:
    """`30d`, `1.5h`, `500ms` -> milliseconds. A bare number is refused: its unit would be a guess."""
    if isinstance(value, str) and (match := _DURATION.fullmatch(value.strip())):
        return round(float(match[1]) * _UNIT_MS[match[2]])
    raise ValueError("not a duration|write a number and a unit (ms, s, m, h, d, w), such as 30d")


def check_path(path: str) -> str:
    """A path of names joined by dots, as it came; ValueError for anything else."""
    parts = path.split(".")
    if not all(parts) or any(part.startswith("$") for part in parts) or "\0" in path:
        raise ValueError("not a field path|write names joined by dots, such as release.year")
    return path


def check_cron(line: str) -> str:
    """A cron line, as it came; ValueError for anything else."""
    parse_cron(line)
    return line


def _check_top(name: str) -> str:
    if "." in check_path(name):
        raise ValueError("not a field at the top of the document|write one name, without dots")
    return name


def _positive(value: int) -> int:
    if value <= 0:
        raise ValueError("a duration of zero|leave the key out, or write a duration above zero")
    return value


DurationMs: TypeAlias = Annotated[
    int, BeforeValidator(parse_duration, json_schema_input_type=str), AfterValidator(_positive)
]
Path: TypeAlias = Annotated[str, Field(min_length=1), AfterValidator(check_path)]
TopName: TypeAlias = Annotated[str, Field(min_length=1), AfterValidator(_check_top)]
Name: TypeAlias = Annotated[str, Field(pattern=r"^[a-z0-9]([a-z0-9-]*[a-z0-9])?$", max_length=63)]
RedisType: TypeAlias = Literal["hash", "json", "string", "set", "zset", "list", "stream"]
FieldType: TypeAlias = Literal[
    "string", "int", "long", "double", "decimal", "bool", "date", "epoch", "epoch_ms",
    "objectId", "uuid", "binary", "json", "vector", "geo",
]  # fmt: skip
ELEMENTS = frozenset({"set", "zset", "list"})
"""Redis types that hold elements and no fields."""
VectorType: TypeAlias = Literal["float32", "float16"]


class Model(BaseModel):
    """Frozen; an unknown key is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid", populate_by_name=True, strict=False)


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
        None, description="Field that tells series apart: one that seldom changes, such as the device."
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

    collection: str = Field(
        pattern=r'^[^\s/\\."$]+\.[^\x00$]+$', description="Database and collection, such as catalog.movies."
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
    timeseries: TimeSeries | None = Field(
        None, description="For `capture: append`: the collection is a time series. See how-to/append.md."
    )


class FieldSpec(Model):
    """One field of a projection. The short form `title: title` means `title: {from: title}`."""

    from_: Path | None = Field(None, alias="from", description="Path in the document, such as release.year.")
    expr: str | None = Field(
        None, description="A JMESPath expression over the document, instead of `from`.", min_length=1
    )
    type: FieldType | None = Field(
        None, description="Convert to this type; without it, the type table of the reference applies."
    )
    dims: int | None = Field(
        None, ge=1, le=32_768, description="Length of the vector; any other length is a dead letter."
    )
    datatype: VectorType = Field("float32", description="Element type of a vector in a hash.")
    mask: Literal["hmac", "redact", "last4"] | None = Field(
        None,
        description="`hmac`: keyed SHA-256 (SYNCD_HMAC_KEY); `redact`: a constant; `last4`: the last four "
        "characters.",
    )
    null: Literal["keep", "omit"] | None = Field(
        None,
        description="What a null becomes. JSON keeps it and a hash leaves it out unless this says otherwise; "
        "kept in a hash it is an empty string.",
    )

    @model_validator(mode="before")
    @classmethod
    def _short_form(cls, value: Any) -> Any:
        return {"from": value} if isinstance(value, str) else value

    @model_validator(mode="after")
    def _consistent(self) -> FieldSpec:
        if (self.from_ is None) == (self.expr is None):
            raise ValueError(
                "a field needs exactly one of `from` and `expr`|name a path, or give an expression"
            )
        if (self.type == "vector") != (self.dims is not None):
            raise ValueError(
                "`type: vector` and `dims` go together|write {from: path, type: vector, dims: 384}"
            )
        if self.type == "vector" and self.mask:
            raise ValueError("a vector cannot be masked|leave out `mask`, or project another field")
        return self


class FieldTtl(Model):
    """A moment in the document at which the key expires."""

    field: Path = Field(
        description="Path of a date; the key expires then. Without a date it does not expire."
    )


def _ttl_form(value: Any) -> str:
    """Which form is meant decides which mistakes are told; a plain union would tell those of both."""
    return "field" if isinstance(value, dict | FieldTtl) else "duration"


Ttl: TypeAlias = Annotated[
    Annotated[DurationMs, Tag("duration")] | Annotated[FieldTtl, Tag("field")], Discriminator(_ttl_form)
]


class TextAttrs(Model):
    """Attributes of a text field."""

    weight: float = Field(1.0, gt=0)
    no_stem: bool = False
    withsuffixtrie: bool = False
    phonetic_matcher: Literal["dm:en", "dm:fr", "dm:pt", "dm:es"] | None = None
    sortable: bool = False
    unf: bool = False
    no_index: bool = False
    index_missing: bool = False
    index_empty: bool = False


class TagAttrs(Model):
    """Attributes of a tag field."""

    separator: str = Field(",", min_length=1, max_length=1)
    case_sensitive: bool = False
    withsuffixtrie: bool = False
    sortable: bool = False
    unf: bool = False
    no_index: bool = False
    index_missing: bool = False
    index_empty: bool = False


class NumericAttrs(Model):
    """Attributes of a numeric field."""

    sortable: bool = False
    unf: bool = False
    no_index: bool = False
    index_missing: bool = False


class GeoAttrs(Model):
    """Attributes of a geo field."""

    sortable: bool = False
    no_index: bool = False
    index_missing: bool = False


class VectorAttrs(Model):
    """Attributes of a vector field; the HNSW ones are refused on a flat index."""

    dims: int = Field(ge=1, le=32_768)
    algorithm: Literal["flat", "hnsw"] = "flat"
    distance_metric: Literal["cosine", "l2", "ip"] = "cosine"
    datatype: Literal["float16", "float32"] = "float32"
    initial_cap: int | None = Field(None, ge=0)
    block_size: int | None = Field(None, ge=1)
    m: int | None = Field(None, ge=2)
    ef_construction: int | None = Field(None, ge=1)
    ef_runtime: int | None = Field(None, ge=1)
    epsilon: float | None = Field(None, gt=0)
    index_missing: bool = False

    @model_validator(mode="before")
    @classmethod
    def _lower_case(cls, value: Any) -> Any:
        words = ("algorithm", "distance_metric", "datatype")
        if isinstance(value, dict):
            return {k: v.lower() if k in words and isinstance(v, str) else v for k, v in value.items()}
        return value

    @model_validator(mode="after")
    def _fits_algorithm(self) -> VectorAttrs:
        hnsw = [n for n in ("m", "ef_construction", "ef_runtime", "epsilon") if getattr(self, n) is not None]
        if self.algorithm == "flat" and hnsw:
            names = ", ".join(f"`{name}`" for name in hnsw)
            raise ValueError(f"{names} only with `algorithm: hnsw`|change the algorithm, or leave it out")
        if self.algorithm == "hnsw" and self.block_size is not None:
            raise ValueError("`block_size` only with `algorithm: flat`|change the algorithm, or leave it out")
        return self


class _IndexField(Model):
    name: str = Field(min_length=1, description="Name in queries; in a hash index, the hash field itself.")
    path: str | None = Field(None, description='JSON only: where the value is, such as "$.genres[*]".')


class TextField(_IndexField):
    """Full-text search."""

    type: Literal["text"]
    attrs: TextAttrs = TextAttrs()


class TagField(_IndexField):
    """Exact match on labels."""

    type: Literal["tag"]
    attrs: TagAttrs = TagAttrs()


class NumericField(_IndexField):
    """Ranges of numbers."""

    type: Literal["numeric"]
    attrs: NumericAttrs = NumericAttrs()


class GeoField(_IndexField):
    """Points by distance."""

    type: Literal["geo"]
    attrs: GeoAttrs = GeoAttrs()


class VectorField(_IndexField):
    """Nearest neighbours."""

    type: Literal["vector"]
    attrs: VectorAttrs


IndexField: TypeAlias = Annotated[
    TextField | TagField | NumericField | GeoField | VectorField, Field(discriminator="type")
]


class Index(Model):
    """A search index over a projection, in RedisVL's vocabulary."""

    name: str = Field(
        min_length=1,
        description="The name that applications use: an alias. The real index has a generation behind it.",
    )
    fields: tuple[IndexField, ...] = Field(min_length=1, description="What is searchable.")


class Projection(Model):
    """One shape of each document in Redis."""

    projection: Name = Field(description="Name of the shape, unique in the contract.")
    type: RedisType = Field(
        description="What the key holds; `set`, `zset` and `list` only go to MongoDB, `stream` is for `append`."
    )
    key: str = Field(
        min_length=1,
        max_length=512,
        description='Key template, such as "movie:{_id}"; of a stream, its key.',
    )
    ttl: Ttl | None = Field(
        None,
        description="A duration such as 30d, set again by every write, or {field: path} of a date. From Redis "
        "to MongoDB only the latter: the moment at which the key expires goes to that path.",
    )
    fields: dict[str, FieldSpec] | None = Field(
        None,
        description="Redis field: path or details. Or a list of names, or `all` for the whole document. "
        "Nothing that is not named here leaves MongoDB.",
    )
    whole: bool = Field(False, exclude=True, description="Set by `fields: all`.")
    value: FieldSpec | None = Field(
        None,
        description="Instead of `fields`: the one value that a string holds, or what the elements of a set, a sorted "
        "set or a list are. In the document these are an array, of a sorted set one of `{member, score}`.",
    )
    index: Index | None = Field(None, description="A search index over the keys of this projection.")

    @model_validator(mode="before")
    @classmethod
    def _forms_of_fields(cls, raw: Any) -> Any:
        if not isinstance(raw, dict):
            return raw
        if "whole" in raw:
            raise ValueError("unknown key `whole`|write `fields: all` for the whole document")
        fields = raw.get("fields")
        if fields == "all":
            return {**raw, "fields": {}, "whole": True}
        if isinstance(fields, list) and all(isinstance(name, str) for name in fields):
            return {**raw, "fields": {name: {"from": name} for name in fields}}
        return raw

    @field_validator("fields", mode="before")
    @classmethod
    def _is_one_of_them(cls, value: Any) -> Any:
        if value is None or isinstance(value, dict):
            return value
        raise ValueError("not a form of `fields`|write {title: title}, [title, year], or all")

    @model_validator(mode="after")
    def _has_content(self) -> Projection:
        if self.type == "string":
            if (self.fields is None) == (self.value is None):
                raise ValueError("a string needs exactly one of `fields` and `value`|give one of them")
        elif self.type in ELEMENTS:
            if self.value is None or self.fields is not None:
                remedy = "write value: {from: path, type: string}, and no `fields`"
                raise ValueError(f"a {self.type} has elements, which are one `value`|{remedy}")
        elif self.value is not None:
            raise ValueError("`value` is for a string, a set, a zset or a list|name the `fields`")
        elif self.fields is None:
            raise ValueError("no `fields`|name them, or write `fields: all` for the whole document")
        if not self.fields and not self.whole and self.value is None:
            raise ValueError("`fields` is empty|name at least one field")
        if self.type in {"string", *ELEMENTS} and self.index is not None:
            raise ValueError(f"a {self.type} cannot be indexed|use `type: hash` or `type: json`")
        return self


class Authority(Model):
    """Fields that only one side may change, by their names in Redis."""

    mongo: tuple[str, ...] = Field(
        (), description="Fields that MongoDB decides; a change in Redis is undone."
    )
    redis: tuple[str, ...] = Field(
        (), description="Fields that Redis decides; a change in MongoDB is undone."
    )


class Sync(Model):
    """Which way data flows, and what a deletion means."""

    direction: Literal["mongo_to_redis", "redis_to_mongo", "both"] = Field(
        "mongo_to_redis", description="Where changes come from."
    )
    capture: Literal["append", "outbox", "keyspace"] | None = Field(
        None,
        description="For `redis_to_mongo` and `both`, how changes in Redis are found. `append`: each entry of a "
        "stream becomes a document. "
        "`outbox`: the application notes each key that it changes in a stream. `keyspace`: Redis tells of keys that "
        "changed.",
    )
    on_delete: Literal["delete", "tombstone", "ignore"] = Field(
        "delete",
        description="`delete` removes what belongs to what was deleted; `ignore` leaves it. `tombstone`, from Redis to "
        "MongoDB: the document stays, with the date at `_syncd.deleted`.",
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
    conflicts: str | None = Field(
        None,
        pattern=r'^[^\s/\\."$]+\.[^\x00$]+$',
        description="For `both`: the collection of the records of conflicts; `syncd_conflicts` in the database of "
        "the documents, where nothing is said.",
    )
    outbox_max: int | None = Field(
        None,
        ge=1,
        description="For `capture: outbox`: as long as so many entries wait, syncd's functions refuse to change a key.",
    )
    on_drop: Literal["purge", "keep", "pause"] = Field(
        "purge",
        description="For `mongo_to_redis`. What a drop or rename of the collection means: `purge` removes its keys, "
        "`keep` leaves them until new documents overwrite them, `pause` stops the lane until `syncd snapshot`.",
    )
    on_unresumable_position: Literal["resnapshot", "fail"] = Field(
        "resnapshot",
        description="For `mongo_to_redis`. What to do when MongoDB can no longer resume from the stored position.",
    )


class Slo(Model):
    """What the contract promises its readers."""

    freshness: DurationMs = Field(description="How old Redis may be; above it the daemon is not ready.")


def check_hours(value: str) -> str:
    """`22:00-06:00`, as it came; ValueError for anything else."""
    parse_hours(value)
    return value


def parse_hours(value: str) -> tuple[int, int]:
    """First minute of the day, and the minute after the last; the second is the smaller one over midnight."""
    match = _HOURS.fullmatch(value)
    hours = [int(part) for part in match.groups()] if match else [99]
    if len(hours) != 4 or max(hours[0], hours[2]) > 24 or max(hours[1], hours[3]) > 59:
        raise ValueError("not hours of the day|write them as 22:00-06:00, in UTC")
    return 60 * hours[0] + hours[1], 60 * hours[2] + hours[3]


class Reconcile(Model):
    """When both sides are compared, and what is done then. Without `schedule` and `every`: when somebody asks."""

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
        "report", description="`report` tells what differs; `repair` has the lane write it anew."
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


class Contract(Model):
    """One contract file."""

    api_version: Literal["syncd/v1"] = Field(alias="apiVersion", description="Version of the format.")
    kind: Literal["SyncContract"] = Field(description="Always SyncContract.")
    metadata: Metadata
    mongo: Mongo
    redis: tuple[Projection, ...] = Field(min_length=1, description="The shapes of each document in Redis.")
    sync: Sync = Sync()
    slo: Slo | None = Field(None, description="Freshness, as a metric and an alert.")
    reconcile: Reconcile | None = Field(None, description="Comparison of both sides, and repair.")

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
