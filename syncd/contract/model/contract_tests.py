"""Tests of a contract: what is given, and what must become of it. `syncd test` runs them; no lane ever sees them."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Annotated, Any, TypeAlias

from pydantic import BeforeValidator, Field, model_validator

from syncd.contract.model.values import Model, Namespace, parse_duration

GIVEN = ("given", "given_keys", "given_entries")
_OF_DOCUMENTS = ("before", "expect", "absent", "ttl", "filtered", "collection")


def parse_moment(value: Any) -> int:
    """`2024-01-31T00:00:00Z` -> epoch milliseconds."""
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    try:
        found = datetime.fromisoformat(str(value))
    except ValueError:
        found = None
    if found is None or found.tzinfo is None:
        raise ValueError("not a moment|write it with its zone, such as 2024-01-31T00:00:00Z")
    return round((found - datetime(1970, 1, 1, tzinfo=UTC)).total_seconds() * 1000)


def parse_expiry(value: Any) -> Any:
    """As a `Put` has it: 0 for `none`, milliseconds of a duration, minus a moment; of fields by their names."""
    if isinstance(value, dict):
        return {name: parse_expiry(one) for name, one in value.items()}
    if value == "none":
        return 0
    try:
        return parse_duration(value)
    except ValueError:
        pass
    try:
        return -parse_moment(value)
    except ValueError:
        raise ValueError("neither a duration nor a moment|write 30d, 2024-01-31T00:00:00Z, or none") from None


Moment: TypeAlias = Annotated[int, BeforeValidator(parse_moment, json_schema_input_type=str)]
Expiry: TypeAlias = Annotated[Any, BeforeValidator(parse_expiry)]
Reasons: TypeAlias = Annotated[
    tuple[str, ...],
    BeforeValidator(
        lambda said: (said,) if isinstance(said, str) else said, json_schema_input_type=str | list[str]
    ),
]


class ContractTest(Model):
    """One test. Documents and `document` may hold Extended JSON, as `mongo.filter` may."""

    name: str = Field(
        min_length=1, max_length=200, description="What the test shows, unique in the contract."
    )
    given: Any = Field(
        None,
        description="A document, or a list of them: all that the collection holds. Of a contract from Redis to MongoDB "
        "`given_keys` or `given_entries` instead.",
    )
    before: Any = Field(
        None,
        description="Documents that the collection held before. One that is not in `given` was deleted, and one that "
        "differs was updated.",
    )
    given_keys: Mapping[str, Any] | None = Field(
        None,
        min_length=1,
        description="Keys and what they hold: a hash or a JSON document as a mapping, a string as a text, a list or a "
        "set as a list, a sorted set as members with their scores.",
    )
    given_entries: Mapping[str, Mapping[str, Any]] | None = Field(
        None, min_length=1, description="Entries of a stream: their ids, and the fields of each."
    )
    collection: Namespace | None = Field(
        None, description="The collection of the documents, for a contract over several."
    )
    now: Moment | None = Field(
        None,
        description="The moment of the test, such as 2024-01-31T00:00:00Z: keys and fields that expire before are not "
        "there. Without it nothing has expired.",
    )
    expect: Mapping[str, Any] | None = Field(
        None,
        description="Keys that Redis holds then, each with all that it holds, in the form of `given_keys`; shared keys "
        "with their members, a change feed with its entries as a list. {} for nothing at all. Keys that are not named "
        "are not compared.",
    )
    absent: tuple[str, ...] = Field((), description="Keys that are not there.")
    ttl: Mapping[str, Expiry] = Field(
        default_factory=dict,
        description="When keys expire: a duration such as 30d, a moment, or `none`. For fields of a hash, and "
        "for members, a mapping of their names to the same.",
    )
    document: Any = Field(
        None,
        description="From Redis to MongoDB: the document that the key or the entry becomes, or a list; [] for none.",
    )
    dead_letter: Reasons = Field(
        (),
        description="The reason of the dead letter, or a list of reasons. A dead letter that is not named here fails "
        "the test.",
    )
    filtered: bool = Field(False, description="No document of `given` matches the filter. MongoDB is asked.")
    partial: bool = Field(
        False,
        description="Whether what is expected may hold more fields, elements or members than are named.",
    )

    @model_validator(mode="after")
    def _says_enough(self) -> ContractTest:
        named = [name for name in GIVEN if name in self.model_fields_set]
        if len(named) != 1:
            said = f"both `{named[0]}` and `{named[1]}`" if named else "no `given`"
            raise ValueError(f"{said}|give documents, keys (given_keys) or entries (given_entries)")
        if named != ["given"]:
            for name in _OF_DOCUMENTS:
                if name in self.model_fields_set:
                    raise ValueError(f"`{name}` is about documents that are given|expect a `document`")
        elif "document" in self.model_fields_set:
            raise ValueError("`document` is about keys and entries that are given|expect keys")
        expects = {"expect", "absent", "ttl", "document", "dead_letter", "filtered"}
        if not expects & self.model_fields_set:
            raise ValueError("a test that expects nothing|write expect: {} where nothing must come of it")
        return self
