"""A search index over a projection, in the words of RedisVL."""

from __future__ import annotations

from typing import Annotated, Any, Literal, TypeAlias

from pydantic import BeforeValidator, Field, model_validator

from syncd.contract.model.redis.redis_types import IndexForm
from syncd.contract.model.values import Model, check_duration, parse_duration

Language: TypeAlias = Literal[
    "arabic", "armenian", "basque", "catalan", "chinese", "danish", "dutch", "english", "finnish", "french",
    "german", "greek", "hindi", "hungarian", "indonesian", "irish", "italian", "lithuanian", "nepali", "norwegian",
    "portuguese", "romanian", "russian", "serbian", "spanish", "swedish", "tamil", "turkish", "yiddish",
]  # fmt: skip


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

    separator: str | None = Field(
        None,
        min_length=1,
        max_length=1,
        description="Where a text is cut into labels: in a hash at commas, by which an array is joined, and in JSON, "
        "which has arrays, nowhere, unless this says otherwise.",
    )
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


def _keep_old(value: Any) -> int | None:
    if value == "until_dropped":
        return None
    try:
        return check_duration(parse_duration(value))
    except ValueError as error:
        what, _, remedy = str(error).partition("|")
        raise ValueError(f"{what}|{remedy}, or until_dropped") from None


KeepOld: TypeAlias = Annotated[int | None, BeforeValidator(_keep_old, json_schema_input_type=str)]
"""Milliseconds; None: until a person drops it."""


class Index(Model):
    """A search index over a projection, in RedisVL's vocabulary."""

    name: str = Field(
        min_length=1,
        description="The name that applications use. `{$db}` and `{$collection}` are where the documents are.",
    )
    fields: tuple[IndexField, ...] = Field(min_length=1, description="What is searchable.")
    stopwords: tuple[Annotated[str, Field(min_length=1)], ...] | None = Field(
        None,
        max_length=1_000,
        exclude_if=lambda said: said is None,
        description="Words that a text field passes over, instead of RediSearch's own; `[]` is none.",
    )
    language: Language | None = Field(
        None,
        exclude_if=lambda said: said is None,
        description="Language of the texts, for stemming; English where nothing is said.",
    )
    generations: Literal["alias", "in_place"] = Field(
        "alias",
        description="`alias`: the name is an alias, a changed index is built beside the old one, and takes the name "
        "over without a gap. `in_place`: the name is the index itself, for clients that search for it with `FT._LIST`; "
        "a changed one is dropped and made again, and searches find less until it is complete.",
    )
    keep_old: KeepOld = Field(
        "7d",
        validate_default=True,
        description="With `alias`: how long an index that gave its name away stays, for clients that opened the real "
        "one behind the alias. It costs memory, and time with every write. `until_dropped`: until a person drops it.",
    )

    @model_validator(mode="after")
    def _old_ones_are_behind_an_alias(self) -> Index:
        if self.generations == "in_place" and "keep_old" in self.model_fields_set:
            raise ValueError(
                "`keep_old` only with `generations: alias`|leave it out: in place there is no old one"
            )
        return self


def separator_of(field: TagField, form: IndexForm) -> str | None:
    """Where RediSearch cuts a text into labels; None where it does not."""
    return field.attrs.separator or form.separator
