"""Paths into a JSON document, as RedisJSON 2.8 reads them.

FT.CREATE takes any text for a path. One that RedisJSON cannot read finds nothing, ever, and nothing says so."""

from __future__ import annotations

import re
from collections.abc import Collection

_PLAIN = r"[A-Za-z_][A-Za-z0-9_]*"
_DOTTED = re.compile(rf"{_PLAIN}(?:\.{_PLAIN})+")
# A blank behind the quotation mark is passed over, and the name is another one.
_NAMES = r""""(?! )((?:[^"\\]|\\["\\])*)"|'(?! )((?:[^'\\]|\\['\\])*)'"""
_QUOTED = re.sub(r"\((?!\?)", "(?:", _NAMES)
_LITERAL = r"[A-Za-z0-9_`~+#%$^/:-]+"
_NUMBER = "-?[0-9]+"
_TERM = (
    rf"(?:[@$](?:\.{{1,2}}(?:{_LITERAL}|\*)|\[ *(?:\*|{_NUMBER}|{_QUOTED}) *\])*|{_QUOTED}|{_NUMBER}(?:\.[0-9]+)?"
    "|true|false|null)"
)
_CONDITION = rf"(?:[(] *)*{_TERM}(?: *(?:[=!<>]=|=~|<|>) *{_TERM})?[ )]*"
_FILTER = rf"\? *{_CONDITION}(?:(?:&&|\|\|) *{_CONDITION})*"
_INSIDE = "|".join(
    (
        r"\*",
        f"(?:{_NUMBER})?(?: *: *(?:{_NUMBER})?){{1,2}}",
        f"{_NUMBER}(?: *, *{_NUMBER})*",
        f"(?:{_QUOTED})(?: *, *(?:{_QUOTED}))*",
        _FILTER,
    )
)
_READABLE = re.compile(rf"\$(?:\.{{1,2}}(?:{_LITERAL}|\*)|(?:\.{{1,2}})?\[ *(?:{_INSIDE}) *\])*")
_MEMBER = re.compile(rf"(\$(?:\.({_LITERAL})|\.?\[ *(?:{_NAMES}) *\]))(?:[.\[].*)?", re.DOTALL)
_ESCAPED = re.compile(r"""\\(["'\\])""")


def default_path(name: str, members: Collection[str]) -> str:
    """Where a field called `name` is found in a document that has these members. A dotted name that is none of them
    leads into an object, as RedisVL has it; any other that is not plain ASCII is put into brackets."""
    if re.fullmatch(_PLAIN, name) or (name not in members and _DOTTED.fullmatch(name)):
        return f"$.{name}"
    return bracketed(name)


def bracketed(name: str) -> str:
    """The path of a member of any name: RedisJSON knows two escapes, and takes all else as it is."""
    inside = name.replace("\\", "\\\\").replace('"', '\\"')
    return f'$["{inside}"]'


def can_be_read(path: str) -> bool:
    """Whether RedisJSON reads the path."""
    outside = re.sub(_QUOTED, "", path)
    return _READABLE.fullmatch(path) is not None and outside.count("(") == outside.count(")")


def first_member(path: str) -> tuple[str | None, bool]:
    """The member at which a path begins, and whether it ends there; None where it may be any."""
    match = _MEMBER.fullmatch(path)
    if match is None:
        return None, False
    name = next(group for group in match.groups()[1:] if group is not None)
    return (name if match[2] else _ESCAPED.sub(r"\1", name)), match[1] == path
