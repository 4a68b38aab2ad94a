"""Documents that a person writes: YAML or JSON, with Extended JSON in either."""

from __future__ import annotations

from typing import Any

import bson
from bson.errors import BSONError, InvalidDocument

from syncd.contract.model.extjson import decode
from syncd.contract.read.source import Path
from syncd.contract.read.yaml import read_source
from syncd.plan.values.bson_values import CODEC


def stored(document: Any) -> dict[str, Any]:
    """A document as MongoDB would give it back, so that numbers and dates have the types that lanes see. Raises
    ValueError."""
    if not isinstance(document, dict) or "_id" not in document:
        raise ValueError("a document is a mapping with an `_id`")
    try:
        return bson.decode(bson.encode(document, codec_options=CODEC), CODEC)
    except (BSONError, InvalidDocument, OverflowError):
        raise ValueError("MongoDB cannot hold such a document") from None


def documents_in_text(text: str) -> list[dict[str, Any]]:
    """All documents of a file: one, or a list. Raises ValueError."""
    source, problems = read_source("", text.encode(), {})
    wrong = [f"{one.line}:{one.column}: {one.what}" for one in problems]

    def report(path: Path, what: str, remedy: str) -> None:
        assert source is not None
        wrong.append(f"{'{}:{}'.format(*source.locate_key(*path))}: {what}; {remedy}")

    said = None if source is None else decode(source.value, (), report)
    if wrong:
        raise ValueError(wrong[0])
    return [stored(one) for one in (said if isinstance(said, list) else [said])]
