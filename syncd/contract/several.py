"""A contract over several collections: one contract for each of them, under a name of its own. Pure.

So each collection has a lane, a position and a copy of its own, and no promise is another one than for one collection.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from syncd.contract.model.contract import Contract
from syncd.contract.model.redis.projection import Projection
from syncd.contract.model.redis.template import CONTROL_PREFIX, SEPARATOR, KeyTemplate, Placeholder
from syncd.contract.model.values import COLLECTION, DATABASE

OF = "@"
"""Between the name of the contract and that of the collection."""
_UNSAFE = re.compile(r"[^A-Za-z0-9_.-]")
_NAMES = re.compile(r"\{(\$db|\$collection)\}")
_ESCAPED = re.compile(r"%([0-9A-F]{2})")


def matching(contract: Contract, collections: Iterable[str]) -> list[str]:
    """Those that a contract over several collections is about, sorted."""
    patterns = [_compiled(pattern) for pattern in contract.patterns]
    return sorted({one for one in collections if any(pattern.fullmatch(one) for pattern in patterns)})


def _compiled(pattern: str) -> re.Pattern[str]:
    database, _, collection = pattern.partition(".")
    return re.compile(rf"{_as_regex(database, '[^.]')}[.]{_as_regex(collection, '.')}", re.DOTALL)


def _as_regex(text: str, any_character: str) -> str:
    return f"{any_character}*".join(map(re.escape, text.split("*")))


def name_of(contract: Contract, collection: str) -> str:
    """Of the contract for one collection."""
    return contract.name + OF + _UNSAFE.sub(lambda hit: _percent(hit[0]), collection)


def collection_of(contract: Contract, name: str) -> str | None:
    """The collection of a contract of this name; None where it is none of this contract's."""
    whole, _, rest = name.partition(OF)
    if whole != contract.name or not rest:
        return None
    return re.sub(_ESCAPED, lambda hit: chr(int(hit[1], 16)), rest).encode("latin-1").decode(errors="replace")


def for_collection(contract: Contract, collection: str) -> Contract | None:
    """The contract for one of its collections; None where its keys would be syncd's own."""
    redis = tuple(_projection(one, collection) for one in contract.redis)
    if any(one.key.startswith(CONTROL_PREFIX) for one in redis):
        return None
    name = name_of(contract, collection) if contract.patterns else contract.name
    return contract.of_collection(name, collection, redis)


def _projection(projection: Projection, collection: str) -> Projection:
    names = dict(zip((DATABASE, COLLECTION), collection.split(".", 1), strict=True))
    update: dict[str, Any] = {"key": _filled(projection.key, names)}
    if projection.member is not None:
        update["member"] = _filled(projection.member, names)
    if projection.value is not None:
        update["value"] = projection.value.of_collection(names)
    if projection.index is not None:
        update["index"] = projection.index.model_copy(update={"name": _filled(projection.index.name, names)})
    if projection.fields:
        update["fields"] = {name: one.of_collection(names) for name, one in projection.fields.items()}
    return projection.model_copy(update=update)


def _filled(template: str, names: Mapping[str, str]) -> str:
    for name, value in names.items():
        template = template.replace(f"{{{name}}}", _literal(value))
    return template


def index_names(contract: Contract, name: str) -> Iterator[KeyTemplate]:
    """What the name of an index is for the collections of each pattern, with placeholders where that has a `*`."""
    for pattern in contract.patterns or ("",):
        filled = name
        for placeholder, part in zip((DATABASE, COLLECTION), pattern.partition(".")[::2], strict=True):
            shown = f"{{{placeholder}}}"
            filled = filled.replace(shown, shown.join(map(_literal, part.split("*"))))
        literals = _NAMES.split(filled)
        yield KeyTemplate(filled, tuple(literals[::2]), tuple(map(Placeholder, literals[1::2])))


def _literal(name: str) -> str:
    """As a value stands in a key."""
    return "".join(
        _percent(one) if one in f"%{SEPARATOR}{{}}" or not one.isprintable() else one for one in name
    )


def _percent(text: str) -> str:
    return "".join(f"%{byte:02X}" for byte in text.encode())


def placeholders(template: str) -> Iterator[str]:
    """Which of `$db` and `$collection` stand in a key, or in the name of an index."""
    return (name for name in (DATABASE, COLLECTION) if f"{{{name}}}" in template)
