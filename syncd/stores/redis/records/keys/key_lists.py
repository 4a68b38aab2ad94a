"""What the map from `_id` to key holds of a document, where its key is no function of `_id`: its key, or of elements a
record of all their keys (see `lua/operations/each.lua`)."""

from __future__ import annotations

import orjson

from syncd.contract.model.redis.template import KeyTemplate


def keys_in(template: KeyTemplate, said: bytes) -> list[str]:
    """The keys of a document; none where the record cannot be read, which a copy makes again."""
    if not template.each:
        return [said.decode()]
    try:
        record = orjson.loads(said)
    except orjson.JSONDecodeError:
        return []
    return [key for key in record[1::2] if isinstance(key, str)] if isinstance(record, list) else []
