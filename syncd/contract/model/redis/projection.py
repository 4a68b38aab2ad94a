"""The model of one shape of a document in Redis."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal, TypeAlias

from pydantic import (
    BeforeValidator,
    Discriminator,
    Field,
    PrivateAttr,
    Tag,
    field_validator,
    model_validator,
)

from syncd.contract.model.redis.content import check_content
from syncd.contract.model.redis.indexes import Index
from syncd.contract.model.redis.members import MemberVector, Quantisation, check_member
from syncd.contract.model.redis.redis_types import RedisType
from syncd.contract.model.redis.samples import check_sample
from syncd.contract.model.redis.sharing import check_share
from syncd.contract.model.values import (
    DATES,
    DurationMs,
    FieldSource,
    FieldType,
    KeyType,
    KeyValues,
    Model,
    Name,
    Path,
    VectorType,
)

OnError: TypeAlias = Annotated[
    Literal["letter", "omit", "null"],
    # YAML's null is the word that is meant.
    BeforeValidator(
        lambda said: "null" if said is None else said,
        json_schema_input_type=Literal["letter", "omit", "null", None],
    ),
]


MOST_ON_A_BOARD = 10_000
"""Members of a key that holds so many only: the lane asks MongoDB for as many documents where one may be missing."""
ChangeOp: TypeAlias = Literal["insert", "update", "replace", "delete", "enter", "leave"]


class FieldSpec(Model):
    """One field of a projection. The short form `title: title` means `title: {from: title}`."""

    from_: FieldSource | None = Field(
        None,
        alias="from",
        description="Path in the document, such as release.year; `$db` and `$collection` are where it is.",
    )
    expr: str | None = Field(
        None,
        description="A JMESPath expression over the document, instead of `from`.",
        min_length=1,
        max_length=4096,
    )
    type: FieldType | None = Field(
        None, description="Convert to this type; without it, the type table of the reference applies."
    )
    dims: int | None = Field(
        None, ge=1, le=32_768, description="Length of the vector; any other length is a dead letter."
    )
    datatype: VectorType = Field("float32", description="Element type of a vector in a hash.")
    round: bool | None = Field(
        None,
        exclude_if=lambda said: said is None,
        description="Of a moment, what is finer than a millisecond: cut off, as MongoDB's `$toDate` does, or with "
        "`false` a dead letter.",
    )
    on_error: OnError = Field(
        "letter",
        exclude_if=lambda said: said == "letter",
        description="What becomes of a value that does not fit its type. `letter`: all of its document, entry or key "
        "is a dead letter. `omit`: the field is left out. `null`: it is null. Both are counted and logged, "
        "and go for what a search index would not take as well.",
    )
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

    _constant: str | None = PrivateAttr(None)

    @property
    def constant(self) -> str | None:
        """The value of the field, where it is the name of the database or of the collection."""
        return self._constant

    def of_collection(self, names: Mapping[str, str]) -> FieldSpec:
        """This field for one collection, whose names are by DATABASE and COLLECTION."""
        if self.from_ is None or self.from_ not in names:
            return self
        found = self.model_copy()
        found._constant = names[self.from_]
        return found

    @classmethod
    def of_path(cls, path: str, type: FieldType | None = None) -> FieldSpec:
        """A field that a contract says by its path alone."""
        return cls.model_validate({"from": path, "type": type})

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
        if self.type != "vector" and "datatype" in self.model_fields_set:
            raise ValueError("`datatype` is for vectors|leave it out, or write type: vector and dims")
        if self.round is not None and self.type not in DATES:
            raise ValueError(
                "`round` is for moments|leave it out, or write type: date, epoch, epoch_ms or epoch_us"
            )
        if self.type == "vector" and self.mask:
            raise ValueError("a vector cannot be masked|leave out `mask`, or project another field")
        return self


class FieldTtl(Model):
    """A moment in the document at which the key, a field of it or a member expires."""

    field: Path = Field(description="Path of a date; it expires then. Without a date it does not expire.")


class KeyField(FieldSpec):
    """One of several fields of a key."""

    ttl: FieldTtl | None = Field(
        None,
        exclude_if=lambda said: said is None,
        description="{field: path} of a date at which this field of a hash expires and the others stay. Needs Redis "
        "7.4 or later, or Valkey 9.",
    )


def _ttl_form(value: Any) -> str:
    """The form decides which mistakes are reported; a plain union would report those of both forms."""
    return "field" if isinstance(value, dict | FieldTtl) else "duration"


Ttl: TypeAlias = Annotated[
    Annotated[DurationMs, Tag("duration")] | Annotated[FieldTtl, Tag("field")], Discriminator(_ttl_form)
]


class Keep(Model):
    """How much a key holds. One of these."""

    first: int | None = Field(
        None, ge=1, description="Of a list: this many elements, from the first of the array."
    )
    last: int | None = Field(
        None, ge=1, description="Of a list: this many elements, up to the last of the array."
    )
    entries: int | None = Field(
        None, ge=1, description="Of a stream: about this many entries, the newest; a few more may be there."
    )
    age: DurationMs | None = Field(
        None,
        description="Of a stream: entries of changes no older than this, seen from the newest; the older ones go with "
        "the next entry.",
    )
    highest: int | None = Field(
        None,
        ge=1,
        le=MOST_ON_A_BOARD,
        description="Of a zset with `member`: this many members of a key, those with the highest scores.",
    )
    lowest: int | None = Field(
        None,
        ge=1,
        le=MOST_ON_A_BOARD,
        description="Of a zset with `member`: this many members of a key, those with the lowest scores.",
    )

    @model_validator(mode="after")
    def _is_one(self) -> Keep:
        if len(self.model_fields_set) != 1 or None in (getattr(self, name) for name in self.model_fields_set):
            raise ValueError("`keep` says one thing|write one of them, such as keep: {last: 100}")
        return self


class Projection(Model):
    """One shape of each document in Redis."""

    projection: Name = Field(
        description="Name of the shape, unique in the contract: lower-case letters, digits and hyphens."
    )
    type: RedisType = Field(
        description="What the key holds. `set`, `zset` and `list` hold an array; `stream` is for `append`, and towards "
        "Redis a change feed."
    )
    each: Path | None = Field(
        None,
        exclude_if=lambda said: said is None,
        description="Path of an array: each element has a key. Paths that begin with it mean the element, all others "
        "the document; in the key `{path.#}` is the position of the element, from 0. Or, from an outbox to MongoDB, "
        "`member`: each member of a set or a zset is a document.",
    )
    key: str = Field(
        min_length=1,
        max_length=512,
        description='Key template, such as "movie:{_id}"; of a stream, its key. Towards Redis all keys of the template '
        "belong to syncd: it overwrites what other clients write there, and deletes keys without a document; keys that "
        "were there before the contract stay, see `sync.adopt`. From Redis to MongoDB without {_id} every placeholder "
        "becomes a field, and the whole key the `_id`. One placeholder, {path*}, may hold `:`.",
    )
    key_values: KeyValues = Field(
        "encoded",
        exclude_if=lambda said: said == "encoded",
        description="How values stand in keys. `encoded`: typed, with `%XX` for what separates. `text`: as they stand, "
        "always strings unless `key_types` says otherwise, as applications write keys.",
    )
    key_types: dict[str, KeyType] = Field(
        default_factory=dict,
        exclude_if=lambda said: not said,
        description="Types of values in keys, by the path of the placeholder, such as {at: epoch}.",
    )
    share: bool = Field(
        False,
        exclude_if=lambda said: not said,
        description="Of a hash: other projections, also of other contracts, have fields in the same hash. This one "
        "writes and removes its own fields alone. All that share a hash say so.",
    )
    ttl: Ttl | None = Field(
        None,
        description="A duration such as 30d, set again by every write, or {field: path} of a date. From Redis "
        "to MongoDB only the latter: the moment at which the key expires goes to that path.",
    )
    fields: dict[str, KeyField] | None = Field(
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
    keep: Keep | None = Field(
        None,
        exclude_if=lambda said: said is None,
        description="How much of an array a list holds, such as {last: 100}, how many entries a stream, such as "
        "{entries: 1000000}, or how many members a zset that documents share, such as {highest: 100}. Without it: all.",
    )
    events: tuple[ChangeOp, ...] | None = Field(
        None,
        min_length=1,
        exclude_if=lambda said: said is None,
        description="Of a change feed: which changes become entries, by what MongoDB says of them; where the contract "
        "has a filter, also `enter` and `leave`, of documents that come to match, or match no more. Without it: all.",
    )
    copy_: bool = Field(
        False,
        alias="copy",
        exclude_if=lambda said: not said,
        description="Of a change feed: whether a copy of the collection writes an entry `op: read` for each document.",
    )
    member: str | None = Field(
        None,
        min_length=1,
        max_length=512,
        exclude_if=lambda said: said is None,
        description='Template of a member of a zset, set, geo or vectorset, such as "{_id}": the document is one of '
        "each of its keys, and shares these. In the key, `{tags[]}` stands for each element of an array. With "
        "`each: member` placeholders become fields, and key, colon and member the `_id`.",
    )
    score: Path | None = Field(
        None,
        exclude_if=lambda said: said is None,
        description="Path of the score of a member of a zset: a number, or a date, in epoch milliseconds. A document "
        "without one is no member.",
    )
    expire: FieldTtl | None = Field(
        None,
        exclude_if=lambda said: said is None,
        description="{field: path} of a date at which the document is a member of nothing any more; without, it stays.",
    )
    position: Path | None = Field(
        None,
        exclude_if=lambda said: said is None,
        description="Path of the point of a member of a geo, in any form that `type: geo` of a field takes.",
    )
    vector: MemberVector | None = Field(
        None,
        exclude_if=lambda said: said is None,
        description="The vector of a member of a vectorset.",
    )
    quantisation: Quantisation = Field(
        "int8",
        exclude_if=lambda said: said == "int8",
        description="How a vectorset holds vectors.",
    )
    attributes: dict[str, Path] | None = Field(
        None,
        exclude_if=lambda said: said is None,
        description="Attributes of a member of a vectorset, by which VSIM can filter: name and path.",
    )
    time: Path | None = Field(
        None,
        exclude_if=lambda said: said is None,
        description="Path of the moment of a sample of a timeseries: a date, or epoch milliseconds. The document is "
        "this sample, with `value`, of a series that it shares with other documents. From Redis to MongoDB each sample "
        "becomes a document, whose `_id` is the key, a colon and the moment.",
    )
    labels: dict[str, Path] | None = Field(
        None,
        exclude_if=lambda said: said is None,
        description="Labels of a timeseries: name and path, of the document with which the series begins; from Redis "
        "to MongoDB those of the series.",
    )
    retention: DurationMs | None = Field(
        None,
        exclude_if=lambda said: said is None,
        description="How long a timeseries keeps samples, back from its newest one. Without it: for ever.",
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

    @property
    def each_member(self) -> bool:
        """Whether each member of a key becomes a document."""
        return self.member is not None and self.each == "member"

    @property
    def is_shared(self) -> bool:
        """Whether documents share the keys, as members or samples of them."""
        return self.member is not None or self.time is not None

    @model_validator(mode="after")
    def _has_content(self) -> Projection:
        check_member(self)
        check_sample(self)
        check_share(self)
        if not self.is_shared:
            check_content(self)
        return self
