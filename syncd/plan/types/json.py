"""JSON documents (RedisJSON): a field of the projection is a member of the object at the root."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import orjson

from syncd.errors import ProjectionError
from syncd.plan.to_mongo.entry_field import EntryField
from syncd.plan.types.base import Captured, DataType, Labels, Merged, Names, Need, change
from syncd.plan.values.redisjson import as_read, double_read
from syncd.plan.values.texts import dump_json, json_text, to_json

if TYPE_CHECKING:
    from syncd.plan.to_redis.change import Content, Put

_PLAIN_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


class JsonMembers(Captured):
    """A text that is a JSON object."""

    def members(self, content: Any) -> Mapping[Any, Any]:
        """Raises ProjectionError where the text is no object."""
        try:
            found = orjson.loads(content)
        except orjson.JSONDecodeError:
            raise ProjectionError("cannot_convert", "the text cannot be parsed as JSON") from None
        if not isinstance(found, dict):
            raise ProjectionError("cannot_convert", "the JSON is no object, so it has no fields")
        return found

    def given(self, said: Any) -> Any:
        """The text of a mapping; a text as it is, which need not be JSON."""
        if isinstance(said, dict):
            return json_text(to_json(said))
        if isinstance(said, str):
            return said.encode()
        raise ValueError("a mapping, or a text that is JSON")

    def name(self, field: EntryField) -> Any:
        """Members have texts for names."""
        return field.name.decode()

    def taken(self, field: EntryField, raw: Any) -> Any:
        """By the type that JSON gives it."""
        return field.taken_of_json(raw)


class Json(JsonMembers, Merged):
    """All members of an object."""

    as_json = True
    read = (b"JSON.GET",)
    empty_is_gone = False

    def can_patch(self, names: Sequence[str]) -> bool:
        """A path without quotes takes ASCII names only."""
        return all(_PLAIN_NAME.fullmatch(name) for name in names)

    def content(self, fields: dict[str, Any]) -> Content | None:
        """The members as they are: what they dump to is known when they are written."""
        return fields

    def everything(self, document: Mapping[str, Any], labels: Labels) -> Content:
        """Every field, null too."""
        whole: dict[str, Any] = to_json(document)
        return whole

    def packed(self, content: Content) -> Content:
        """The text: of a long vector that is most of the work."""
        try:
            return dump_json(content)
        except ProjectionError:  # the lane makes a dead letter of it
            return content

    def put(self, content: Content, ttl: int) -> Sequence[Any]:
        """Code, ttl, text. Raises ProjectionError where JSON cannot hold the content."""
        return "j", ttl, content if type(content) is bytes else dump_json(content)

    def patch(self, sets: Mapping[str, Any], removed: frozenset[str], ttl: int) -> Sequence[Any]:
        """Code, ttl, number of paths and texts, path, text, ..., number of paths, path, ... Raises likewise."""
        texts = {f"$.{name}": dump_json(value, under=1) for name, value in sets.items()}
        return change("J", ttl, texts, [f"$.{name}" for name in removed])

    def differing(self, write: Put, found: Any) -> Names:
        """Member by member, see `_equal`."""
        try:
            text = json_text(write.content)
            if text == found:
                return ()
            dump_json(write.content)
        except ProjectionError as error:  # a dead letter says the same
            return (error.reason,)
        one, other = orjson.loads(text), orjson.loads(found)
        if not isinstance(one, dict) or not isinstance(other, dict):
            return () if _equal(one, other) else ("$",)
        names = [*one, *(name for name in other if name not in one)]
        return tuple(
            name for name in names if not (name in one and name in other and _equal(one[name], other[name]))
        )

    def shown(self, content: Content) -> Any:
        """As it is parsed."""
        return orjson.loads(content if type(content) is bytes else dump_json(content))

    def texts(self, encoded: Any) -> tuple[str | bytes, bytes] | None:
        """JSON; of a double that no text says, both sides know what RedisJSON makes of it."""
        plain = orjson.dumps(as_read(orjson.loads(json_text(encoded))), option=orjson.OPT_SORT_KEYS)
        return dump_json(encoded, under=1), plain

    def operation(self, sets: Mapping[str, Any], removed: Sequence[str], *, is_there: bool) -> list[Any]:
        """A new document, or a change of one that is there."""
        if not is_there:
            members = (orjson.dumps(name) + b":" + _bytes(text) for name, text in sets.items())
            return ["j", 2, "0", b"{" + b",".join(members) + b"}"]
        paths = {_path(name): text for name, text in sets.items()}
        code, *operands = change("J", "0", paths, list(map(_path, removed)))
        return [code, len(operands), *operands]


def _bytes(text: str | bytes) -> bytes:
    return text.encode() if isinstance(text, str) else text


def _path(name: str) -> str:
    """RedisJSON takes a name between quotes as it stands; `names_in_json_have_a_path` refuses what has none."""
    quote = "'" if '"' in name else '"'
    return f"$[{quote}{name}{quote}]"


def _equal(one: Any, other: Any) -> bool:
    """Equal as JSON: members in any order, numbers by value, or as RedisJSON reads them, and true is no number."""
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(_equal(one[name], other[name]) for name in one)
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(_equal, one, other))
    if isinstance(one, bool) or isinstance(other, bool):
        return one is other
    return bool(one == other) or (type(one) is float and double_read(one) == other)


JSON = DataType(
    name="json",
    redis="ReJSON-RL",
    sample=("JSON.SET", "$", "1"),
    fields=Json(),
    need=Need("json", "JSON.SET", "the JSON data type", "use Redis 8, Redis Stack, or a hash"),
)
