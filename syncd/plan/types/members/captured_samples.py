"""Samples of time series that an application writes, each of which becomes a document."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

import orjson

from syncd.contract.model.redis.projection import FieldSpec, Projection
from syncd.plan.types.base import CapturedMembers
from syncd.plan.values.dates import LAST_MS
from syncd.plan.values.scores import score_of

_LABEL = "label "
"""Before the name of a label: so a field is called that holds one."""
_COUNT = 1000


class CapturedSamples(CapturedMembers):
    """Each with its value and the labels of its series. The member is the moment, in epoch milliseconds."""

    may_expire = True

    def fields(self, projection: Projection) -> dict[str, FieldSpec]:
        """The value, and each label."""
        assert projection.value is not None
        labels = projection.labels or {}
        value = projection.value.model_copy(update={"type": "double"})
        return {"value": value} | {
            f"{_LABEL}{name}": FieldSpec.of_path(path) for name, path in labels.items()
        }

    def page(self, key: bytes, cursor: int) -> tuple[Any, ...]:
        """Samples before a moment, the newest first."""
        return ("TS.REVRANGE", key, 0, cursor - 1 if cursor else LAST_MS, "COUNT", _COUNT)

    def scanned(self, reply: Any) -> tuple[int, list[bytes]]:
        """Their moments."""
        moments = [int(moment) for moment, _ in reply]
        return moments[-1] if len(moments) == _COUNT else 0, [b"%d" % moment for moment in moments]

    def ask(self, key: bytes, member: bytes) -> list[tuple[Any, ...]]:
        """The sample, and the labels among what is known of the series."""
        return [("TS.RANGE", key, member, member), ("TS.INFO", key)]

    def content(self, replies: list[Any]) -> bytes | None:
        """A list in JSON."""
        found = self.contents(replies)
        return next(iter(found.values()), None)

    def contents(self, replies: list[Any]) -> dict[bytes, bytes]:
        """The same of many samples of a series, by their moments."""
        samples, said = replies
        labels = dict(zip(said[::2], said[1::2], strict=True))[b"labels"] if samples else []
        texts = [_text(part) for label in labels for part in label]
        return {b"%d" % moment: json.dumps([_text(value), *texts]).encode() for moment, value in samples}

    def members(self, content: Any) -> Mapping[Any, Any]:
        """The value, and each label."""
        try:
            value, *labels = orjson.loads(content)
        except orjson.JSONDecodeError:  # a label, which the contract may not ask for, is no text
            value, *labels = json.loads(_text(content))
        texts = zip(labels[::2], labels[1::2], strict=True)
        return {b"value": value.encode()} | {_bytes(f"{_LABEL}{name}"): _bytes(text) for name, text in texts}

    def each(self, said: Any) -> Mapping[str, bytes]:
        """Of a mapping of moments, each with a number, or with `value` and `labels`."""
        if not isinstance(said, dict) or not said:
            raise ValueError("a mapping of moments, in epoch milliseconds, and values")
        return {str(moment): orjson.dumps(list(_parts(one))) for moment, one in said.items()}


def _text(part: bytes) -> str:
    """Also of what is no UTF-8: JSON that nothing reads, as Redis's own is."""
    return part.decode(errors="surrogateescape")


def _bytes(text: str) -> bytes:
    """Back."""
    return text.encode(errors="surrogateescape")


def _parts(said: Any) -> Iterator[str]:
    value, labels = (
        (said.get("value"), dict(said.get("labels", {}))) if isinstance(said, dict) else (said, {})
    )
    yield repr(score_of(value))
    for pair in labels.items():
        yield from map(str, pair)
