"""Values that the parts of a contract are made of.

A ValueError here reads `what|remedy` and never repeats a value, which may come from the environment.
"""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal, TypeAlias

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Discriminator,
    Field,
    Tag,
)

from syncd.contract.model.cron import parse_cron

DURATION_PATTERN = r"([0-9]{1,9}(?:\.[0-9]{1,9})?)(ms|s|m|h|d|w)"
_DURATION = re.compile(DURATION_PATTERN)
_DEEPEST = 100
_LONGEST_MS = 36_525 * 86_400_000
_HOURS = re.compile(r"([0-9]{2}):([0-9]{2})-([0-9]{2}):([0-9]{2})")
_UNIT_MS = {"ms": 1, "s": 1_000, "m": 60_000, "h": 3_600_000, "d": 86_400_000, "w": 604_800_000}


def parse_duration(value: Any) -> int:
    """`30d`, `1.5h`, `500ms` -> milliseconds. A bare number is refused: its unit would be a guess."""
    if isinstance(value, str) and (match := _DURATION.fullmatch(value.strip())):
        return round(float(match[1]) * _UNIT_MS[match[2]])
    raise ValueError("not a duration|write a number and a unit (ms, s, m, h, d, w), such as 30d")


LONGEST_DATABASE, LONGEST_NAMESPACE = 63, 255
"""Bytes that MongoDB allows."""


_OWN_DATABASES = frozenset({"admin", "local", "config"})


def check_namespace(value: str) -> str:
    """Database and collection."""
    database, _, collection = value.partition(".")
    if database.lower() in _OWN_DATABASES or "system" in collection.split(".")[:-1]:
        raise ValueError("a collection of MongoDB's own|name one of an application: database.collection")
    if "*" in value:
        raise ValueError("`*` in the name of a collection|name one collection")
    if len(database.encode()) > LONGEST_DATABASE or len(value.encode()) > LONGEST_NAMESPACE:
        remedy = f"MongoDB allows {LONGEST_DATABASE} bytes for the database and {LONGEST_NAMESPACE} for both"
        raise ValueError(f"a name that is too long|{remedy}")
    return value


_NAMESPACE = r'^[^\s/\\."$]+\.[^\x00$]+$'
Namespace: TypeAlias = Annotated[str, Field(pattern=_NAMESPACE), AfterValidator(check_namespace)]


def check_pattern(value: str) -> str:
    """The name of a collection, or a pattern of such names, in which `*` is any text without the first dot."""
    plain = value.replace("*", "x")
    if re.search(_NAMESPACE, plain) is None:
        raise ValueError(
            "not a database and a collection|write both with a dot between, such as tenant_*.users"
        )
    check_namespace(plain)
    return value


def _form_of_collections(value: Any) -> str:
    """The form decides which mistakes are reported; a plain union would report those of both forms."""
    return "several" if isinstance(value, list | tuple) or "*" in str(value) else "one"


Patterns: TypeAlias = Annotated[
    tuple[Annotated[str, AfterValidator(check_pattern)], ...],
    BeforeValidator(lambda value: [value] if isinstance(value, str) else value),
    Field(min_length=1, max_length=100),
]
Collections: TypeAlias = Annotated[
    Annotated[Namespace, Tag("one")] | Annotated[Patterns, Tag("several")],
    Discriminator(_form_of_collections),
]
DATABASE, COLLECTION = "$db", "$collection"
"""In place of a path: the names of the collection that a document is in."""


def _check_source(path: str) -> str:
    return path if path in (DATABASE, COLLECTION) else check_path(path)


_PERCENT = re.compile(r"([0-9]{1,3}(?:\.[0-9]{1,3})?) ?%?")


def parse_percent(value: Any) -> float:
    """`20%`, or 20."""
    text = str(value).strip() if isinstance(value, str | int | float) and not isinstance(value, bool) else ""
    if (match := _PERCENT.fullmatch(text)) and (float(match[1]) == 0 or 1 <= float(match[1]) <= 100):
        return float(match[1])
    raise ValueError("not a percentage|write a number from 1 to 100 and %, or 0, such as 20%")


Percent: TypeAlias = Annotated[float, BeforeValidator(parse_percent, json_schema_input_type=str | float)]


def check_path(path: str) -> str:
    """A path of names joined by dots, as it came; ValueError for anything else."""
    parts = path.split(".")
    if not all(parts) or any(part.startswith("$") for part in parts) or "\0" in path:
        raise ValueError("not a field path|write names joined by dots, such as release.year")
    if len(parts) > _DEEPEST:
        raise ValueError(f"a field path of more than {_DEEPEST} names|MongoDB nests documents no deeper")
    return path


def check_cron(line: str) -> str:
    """A cron line, as it came; ValueError for anything else."""
    parse_cron(line)
    return line


def _check_top(name: str) -> str:
    if "." in check_path(name):
        raise ValueError("not a field at the top of the document|write one name, without dots")
    return name


def check_duration(value: int) -> int:
    """Milliseconds, as they came; ValueError where they are none, or too many."""
    if value <= 0:
        raise ValueError("a duration of zero|leave the key out, or write a duration above zero")
    if value > _LONGEST_MS:
        raise ValueError("a duration of more than 100 years|write a shorter one, or leave the key out")
    return value


DurationMs: TypeAlias = Annotated[
    int, BeforeValidator(parse_duration, json_schema_input_type=str), AfterValidator(check_duration)
]
Path: TypeAlias = Annotated[str, Field(min_length=1), AfterValidator(check_path)]
FieldSource: TypeAlias = Annotated[str, Field(min_length=1), AfterValidator(_check_source)]
TopName: TypeAlias = Annotated[str, Field(min_length=1), AfterValidator(_check_top)]
Name: TypeAlias = Annotated[str, Field(pattern=r"^[a-z0-9]([a-z0-9-]*[a-z0-9])?$", max_length=63)]
FieldType: TypeAlias = Literal[
    "string", "int", "long", "double", "decimal", "bool", "date", "epoch", "epoch_ms", "epoch_us",
    "objectId", "uuid", "binary", "json", "vector", "geo",
]  # fmt: skip
DATES = frozenset({"date", "epoch", "epoch_ms", "epoch_us"})
"""Types that are a moment in MongoDB."""
KeyType: TypeAlias = Literal[
    "string", "int", "long", "double", "decimal", "bool", "date", "epoch", "epoch_ms", "epoch_us",
    "objectId", "uuid",
]  # fmt: skip
"""Types that one value in a key may have."""
KeyValues: TypeAlias = Literal["encoded", "text"]
VectorType: TypeAlias = Literal["float32", "float16"]


class Model(BaseModel):
    """Frozen; an unknown key is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid", populate_by_name=True, strict=False)


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
