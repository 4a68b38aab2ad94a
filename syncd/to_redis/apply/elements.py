"""The keys of one document's elements as a call has them, each with a digest by which Redis knows it again."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import hiredis
import xxhash

from syncd.errors import ProjectionError
from syncd.plan.to_redis.change import Elements, Put
from syncd.plan.values.texts import NOT_UNICODE

MOST_BYTES = 64 * 1024 * 1024
"""Of the keys of one document, which go to Redis in one call. What the elements hold is at most 16 MB in MongoDB; what
they have of the document is written for each of them."""


class EncodedElement(NamedTuple):
    """A key, the digest of its content and time to live, and the operation that writes both."""

    put: Put
    digest: str
    body: Sequence[Any]


def encoded_elements(write: Elements) -> list[EncodedElement]:
    """All keys of a document. Raises ProjectionError where one cannot be written, or all are too large for one call."""
    found: list[EncodedElement] = []
    size = 0
    for put in write.puts:
        content, form = put.content, put.shape.form
        if type(content) is tuple:
            content = dict(zip(put.shape.names, content, strict=True))
        body = form.put(content, put.ttl)
        try:
            packed = hiredis.pack_command(tuple[Any, ...](body))
        except UnicodeEncodeError:
            raise ProjectionError("not_unicode", NOT_UNICODE) from None
        size += len(packed)
        if size > MOST_BYTES:
            what = (
                f"the keys of its elements take more than {MOST_BYTES >> 20} MB, which one step cannot write"
            )
            raise ProjectionError("document_too_large", what)
        found.append(EncodedElement(put, xxhash.xxh3_128_hexdigest(packed), body))
    return found
