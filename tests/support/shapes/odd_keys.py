"""Ends of keys that any client may write, though syncd never would."""

from __future__ import annotations

import base64

import bson
from bson.code import Code

from syncd.errors import ProjectionError
from syncd.plan.keys.templates import Read
from tests.support.shapes.odd_bson import raw, text


def _doc(value: object, tag: str = "doc") -> bytes:
    return f"%~{tag}~{_base64(bson.encode({'': value}))}".encode()


def _base64(value: bytes) -> str:
    return base64.urlsafe_b64encode(value).decode().rstrip("=")


def _deep(levels: int) -> object:
    return {"a": _deep(levels - 1)} if levels else 1


ODD_ENDS = [
    *(
        rb"%~re~a~i %~re~.*~ %~null %~min %~max %~true %~n~nan %~n~inf %~n~1E+6000 %~n~1E+99999999 %~ts~0.0 %~ts~-1.x "
        rb"%~date~9223372036854775807 %~date~99999999999999999999 %~ts~4294967295.4294967295 %~bin2~YWJj %~bin3~YWJj "
        rb"%~bin255~YWJj %~bin256~YWJj %~bin~ %~js~return %~raw~Ag %~raw~EAEAAAA %~doc~AAAA %~doc~ %~ %~~ % %zz %41 "
        rb"a:b {a} 18446744073709551616 -0 00"
    ).split(b" "),
    *map(
        _doc, ({"$gt": 1}, {"$ref": "c", "$id": 1}, {"$id": 1, "$ref": "c"}, {"a.b": 1}, {"": 1}, {}, [1], 1)
    ),
    *map(_doc, ({"$eq": {"a": 1}, "b": 2}, _deep(90), _deep(150), _deep(250), {"a": float("nan")})),
    _doc(Code("x", {"a": 1}), "jsw"),
    b"%~doc~" + _base64(raw(("", 0x03, raw(("a", 0x06, b""))))).encode(),
    b"%~doc~" + _base64(raw(("", 0x03, raw(("a", 0x02, text(b"\xff")))))).encode(),
    b"%~doc~" + _base64(b"\x05\0\0\0\0").encode(),
    *(b"\xff", b"a\xff:b", b"", b"a b", b"a\nb", b"\0", "\u2126mega".encode(), b"0" * 5000, b"9" * 5000),
]
"""Some are texts of values that MongoDB takes for no `_id`, some are of no value at all."""


def is_read(read: Read, key: bytes) -> bool:
    """Whether a key stands for a document."""
    try:
        read(key)
    except ProjectionError:
        return False
    return True
