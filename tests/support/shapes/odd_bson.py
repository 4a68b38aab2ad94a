"""Documents that MongoDB stores and a driver cannot read, or reads as others."""

from __future__ import annotations

from typing import Any

import bson
from bson.raw_bson import RawBSONDocument
from pymongo.collection import Collection
from pymongo.errors import OperationFailure

from syncd.plan.values.raw import Element, document_of, elements
from syncd.stores.mongo.reads.replies import RAW_CODEC


def raw(*members: tuple[str, int, bytes], **plain: Any) -> bytes:
    """A document of members as they stand: name, type and value; then plain ones."""
    body = b"".join(bytes([kind]) + name.encode() + b"\0" + value for name, kind, value in members)
    body += bson.encode(plain)[4:-1]
    return (len(body) + 5).to_bytes(4, "little") + body + b"\0"


def text(value: bytes) -> bytes:
    return (len(value) + 1).to_bytes(4, "little") + value + b"\0"


def int32(value: int) -> bytes:
    return value.to_bytes(4, "little", signed=True)


def put(collection: Collection[Any], *documents: bytes) -> int:
    """Inserts them as they are; how many MongoDB took."""
    said = collection.database.command(
        {
            "insert": collection.name,
            "documents": [RawBSONDocument(one) for one in documents],
            "ordered": False,
        },
        codec_options=RAW_CODEC,  # errors quote what they are about
    )
    return int(said["n"])


def put_all(collection: Collection[Any], documents: list[bytes]) -> int:
    """The same for documents of which some make MongoDB refuse a command as a whole."""
    try:
        return put(collection, *documents)
    except OperationFailure:
        middle = len(documents) // 2
        if middle == 0:
            return 0
        return put_all(collection, documents[:middle]) + put_all(collection, documents[middle:])


def is_sound(document: bytes) -> bool:
    """Whether it passes MongoDB's check of the form of BSON. What does not makes it refuse a whole command, so that it
    costs one of its own to find out."""
    try:
        members = list(elements(document))
    except ValueError:
        return False
    same = document_of([one.under(one.name) for one in members]) == document
    return same and all(map(_is_sound_member, members))


def _is_sound_member(one: Element) -> bool:
    if one.kind in (0x03, 0x04):  # an object, an array
        return is_sound(one.value)
    if one.kind in (0x02, 0x0D, 0x0E):  # kinds of text
        return len(one.value) > 4 and one.value[-1] == 0
    return one.kind != 0x08 or one.value in (b"\0", b"\1")


def odd_ids(number: int) -> dict[str, tuple[str, int, bytes]]:
    """Each `_id` that a driver cannot read, or gives back as another one; other values for other numbers."""
    digit, least = b"%d" % number, int32(number)
    return {
        "not UTF-8": ("_id", 0x02, text(b"caf\xe9" + digit)),
        "not UTF-8 inside": ("_id", 0x03, raw(("a", 0x02, text(b"\xff" + digit)))),
        "a name that is not UTF-8": ("_id", 0x03, b"\x0c\0\0\0\x10\xff\0" + least + b"\0"),
        "DBPointer": ("_id", 0x0C, text(b"films") + b"12345678901" + digit),
        "undefined inside": ("_id", 0x03, raw(("a", 0x06, b""), ("b", 0x10, least))),
        "a name twice": ("_id", 0x03, raw(("a", 0x10, int32(1)), ("a", 0x10, least))),
        "binary of a wrong length inside": ("_id", 0x03, raw(("a", 0x05, int32(3) + b"\x02ab" + digit))),
        "code that is not UTF-8": ("_id", 0x0D, text(b"\xfe" + digit)),
        # MongoDB looks for two of these in one query for ever.
        "names in an array": ("_id", 0x03, raw(("a", 0x04, raw(("q", 0x10, least))))),
        "options of a regex": ("_id", 0x03, raw(("a", 0x0B, digit + b"\0q\0"))),
    }
