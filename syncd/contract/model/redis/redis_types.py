"""What a contract may say of each Redis type. `plan/types/` implements them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal, TypeAlias

RedisType: TypeAlias = Literal[
    "hash", "json", "string", "set", "zset", "list", "stream", "geo", "vectorset", "timeseries"
]

_NUMBERS = {"int", "long", "double", "epoch", "epoch_ms", "epoch_us"}
_TEXTS = {"bool", "date", "objectId", "uuid", "binary", "json", "vector", "masked"}


@dataclass(frozen=True, kw_only=True)
class IndexForm:
    """How RediSearch reads keys of a type, of which it knows two."""

    name: str
    """As FT.CREATE has it."""
    is_text: bool
    """Whether fields are text or bytes, found by name; else values of JSON, found by paths."""
    separator: str | None
    """Joins an array to labels, unless the contract says otherwise; None where there are arrays."""
    unfit: Mapping[str, set[str]]
    """What a type of index field cannot hold. A field without a type is up to the documents."""
    hides: Mapping[str | None, str]
    """Values of a field of such a type, or of none, over which a numeric index leaves out the document."""


IN_HASH = IndexForm(
    name="hash",
    is_text=True,
    separator=",",
    unfit={
        "text": {"vector"},
        "tag": {"vector"},
        "numeric": {*_TEXTS, "string", "geo"},
        "geo": {*_TEXTS, *_NUMBERS, "decimal"},
    },
    hides={
        None: "a date, a NaN or a text",
        "double": "a NaN",
        "decimal": "a NaN, or a decimal beyond a double,",
    },
)
IN_JSON = IndexForm(
    name="json",
    is_text=False,
    separator=None,
    unfit={
        "text": {*_NUMBERS, "bool", "vector"},
        "tag": {*_NUMBERS, "vector"},
        # A decimal is text in JSON, for a double would lose digits.
        "numeric": {*_TEXTS, "string", "geo", "decimal"},
        "geo": {*_TEXTS, *_NUMBERS, "decimal"},
    },
    hides={None: "a decimal, a date, a NaN or a text", "double": "a NaN or an infinity"},
)


def _has_no_path(name: str) -> bool:
    """RedisJSON's paths have no escapes, so a name has to fit one kind of quotes."""
    return "\\" in name or ("'" in name and '"' in name) or name.startswith(" ")


@dataclass(frozen=True)
class Members:
    """Which keys a projection with `member` has beside it."""

    needs: str | None = None
    may_have: tuple[str, ...] = ()
    keep: tuple[str, ...] = ()
    """What of `keep`."""


@dataclass(frozen=True, kw_only=True)
class TypeRules:
    """What belongs to a projection of one type."""

    content: Literal["fields", "value", "either", "member", "sample"]
    """What the contract must name."""
    to_redis: bool = False
    """Whether documents can become such keys."""
    captured: bool = False
    """Whether such a key, read as a whole, can become a document."""
    appended: bool = False
    """Whether its entries become documents, one by one."""
    fed: bool = False
    """Whether each change of a document becomes an entry of one such key."""
    member: Members | None = None
    """What it says of members of shared keys, where documents can be such."""
    merged: Literal["fields", "value"] | None = None
    """The form of it that can go both ways."""
    index: IndexForm | None = None
    elements: bool = False
    """Whether an element of an array can be such a key."""
    field_ttl: bool = False
    """Whether single fields can expire."""
    keep: tuple[str, ...] = ()
    """What of `keep` a contract may say towards Redis."""
    no_joins: str = ""
    """Why it cannot show joined documents, where it cannot."""
    no_member: Callable[[str], bool] = lambda name: False
    """Whether a field of this name cannot be written alone."""


TYPE_RULES: Mapping[RedisType, TypeRules] = {
    "hash": TypeRules(
        content="fields",
        to_redis=True,
        captured=True,
        merged="fields",
        index=IN_HASH,
        elements=True,
        field_ttl=True,
    ),
    "json": TypeRules(
        content="fields",
        to_redis=True,
        captured=True,
        merged="fields",
        index=IN_JSON,
        elements=True,
        no_member=_has_no_path,
    ),
    "string": TypeRules(content="either", to_redis=True, captured=True, merged="value"),
    "set": TypeRules(content="value", to_redis=True, captured=True, member=Members()),
    "zset": TypeRules(
        content="value", to_redis=True, captured=True, member=Members("score", keep=("highest", "lowest"))
    ),
    "list": TypeRules(content="value", to_redis=True, captured=True, keep=("first", "last")),
    "stream": TypeRules(
        content="fields",
        appended=True,
        fed=True,
        keep=("entries", "age"),
        no_joins="an entry of a change feed is about one change, and a joined document changes without one",
    ),
    "timeseries": TypeRules(
        content="sample", no_joins="a sample is of its moment, and a joined document changes later"
    ),
    "geo": TypeRules(content="member", member=Members("position")),
    "vectorset": TypeRules(content="member", member=Members("vector", ("quantisation", "attributes"))),
}
WITH_VALUE = [name for name, rules in TYPE_RULES.items() if rules.content in ("value", "either")]
INDEXED = [name for name, rules in TYPE_RULES.items() if rules.index is not None]
ENTRY_FIELDS = ("op", "_id", "time", "changed")
"""What syncd itself says in an entry of a change feed, beside the fields of the contract."""
