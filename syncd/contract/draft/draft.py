"""The draft of a contract for a collection, as text with comments, that passes `syncd check` as it is."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator

from syncd.contract.draft.seen_paths import CollectionSurvey, SeenPath

_MOST_FIELDS = 100
_PLAIN = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]*")
_RESERVED = {"null", "Null", "NULL", "true", "True", "TRUE", "false", "False", "FALSE"}
_PERSONAL = re.compile(
    r"pass(word|wd|phrase)|secret|token|api_?key|e_?mail|phone|ssn|iban|credit|card_?(number|no)\b|birth",
    re.IGNORECASE,
)

_HEAD = """\
# yaml-language-server: $schema=syncd.schema.json
# A draft from {total} sampled {documents}. Keep the fields that readers need, name the owner, then run
# `syncd check`. With `syncd schema > syncd.schema.json` beside it, editors complete this file and check it.
apiVersion: syncd/v1
kind: SyncContract
metadata:
  name: {name}
  version: 0.1.0
  owner: change-me
  description: ""

mongo:
  collection: {collection}
  # filter: {{status: active}}   # a MongoDB query; only what matches it is copied

redis:
  - projection: main
    type: hash
    key: "{name}:{{_id}}"
    # ttl: 30d
    fields:   # name in Redis: path in MongoDB
"""
_VECTORS = """
  # Search by vector: remove the comment signs.
  # - projection: search
  #   type: json
  #   key: "{name}-search:{{_id}}"
  #   fields:
{fields}
  #   index:
  #     name: {name}-search
  #     fields:
{index}
"""
_TAIL = """
# slo: {freshness: 5s}   # how old Redis may be; older than this, the daemon is not ready
"""
_TEST = """
tests:   # `syncd test` runs them: what must become of which documents
  - name: a document has a key
    given: {{_id: 1, {path}: some text}}
    expect: {{"{contract}:1": {{{name}: some text}}}}
"""


def draft(name: str, collection: str, documents: CollectionSurvey) -> str:
    """The text of a contract called `name` for a collection with such documents."""
    head = _HEAD.format(
        name=name,
        collection=quoted(collection),
        total=documents.total,
        documents="document" if documents.total == 1 else "documents",
    )
    lines = list(_field_lines(documents))
    if all(line.startswith("#") for line in lines):
        lines.insert(0, "_id: _id")
    fields = "".join(f"      {line}\n" for line in lines)
    return head + fields + _vector_part(name, documents) + _TAIL + _test(name, documents)


def _test(contract: str, documents: CollectionSurvey) -> str:
    """Of the first field, with a value that no document has."""
    for path, name in _names(documents).items():
        if "." not in path and _is_plain(path, documents):
            return _TEST.format(contract=contract, path=quoted(path), name=name)
    return ""


def _is_plain(path: str, documents: CollectionSurvey) -> bool:
    """Whether the draft has it as it is, without a comment sign."""
    seen = documents.paths[path]
    return not (seen.dims or seen.nested or _PERSONAL.search(path))


def contract_name(collection: str) -> str:
    """A name that a contract may have, from that of its collection."""
    return re.sub(r"[^a-z0-9]+", "-", collection.lower())[:63].strip("-") or "contract"


def quoted(text: str) -> str:
    """The text as a YAML scalar on one line that means just this text, also to `${VAR}`."""
    if _PLAIN.fullmatch(text) and text not in _RESERVED:
        return text
    inside = json.dumps(text.replace("${", "$${"), ensure_ascii=False)
    # YAML breaks lines at characters that JSON leaves as they are.
    return "".join(char if char.isprintable() else f"\\U{ord(char):08X}" for char in inside)


def _field_lines(documents: CollectionSurvey) -> Iterator[str]:
    names = _names(documents)
    for path, name in names.items():
        seen = documents.paths[path]
        about = f"   # {_shares(seen, documents.total)}"
        if seen.dims:
            yield f"# {name}: {{from: {quoted(path)}, type: vector, dims: {seen.dims}}}{about}"
        elif seen.nested:
            yield f"# {name}: {{from: {quoted(path)}, type: json}}{about}"
        elif _PERSONAL.search(path):
            yield f"# {name}: {{from: {quoted(path)}, mask: hmac}}{about}; looks personal"
        else:
            yield f"{name}: {quoted(path)}{about}"
    if len(documents.paths) > _MOST_FIELDS + 1:
        yield f"# and {len(documents.paths) - _MOST_FIELDS - 1} more paths"
    for path in sorted(documents.unreachable)[:_MOST_FIELDS]:
        yield f"# no path can name {quoted(path)}: a name in it is empty, or holds a dot, a $, or no UTF-8"


def _names(documents: CollectionSurvey) -> dict[str, str]:
    """A name in Redis for every path: dots become underscores, and no two are the same."""
    names: dict[str, str] = {}
    taken = set()
    for path in [path for path in documents.paths if path != "_id"][:_MOST_FIELDS]:
        base = re.sub(r"\W+", "_", path)
        name, count = base, 2
        while name in taken:
            name, count = f"{base}_{count}", count + 1
        taken.add(name)
        names[path] = quoted(name)
    return names


def _shares(seen: SeenPath, total: int) -> str:
    """Types with the share of documents that have them: `string 98%, null 2%`."""
    elements = f" of {'/'.join(sorted(seen.elements))}" if seen.elements else ""
    return ", ".join(
        f"{kind}{elements if kind == 'array' else ''} {_percent(count, total)}"
        for kind, count in sorted(seen.types.items(), key=lambda item: (-item[1], item[0]))
    )


def _percent(count: int, total: int) -> str:
    share = 100 * count / total
    # Only all is 100%, and only none would be 0%.
    return "<1%" if share < 1 else f"{min(round(share), 99 if count < total else 100)}%"


def _vector_part(name: str, documents: CollectionSurvey) -> str:
    names = _names(documents)
    vectors = {path: dims for path, seen in documents.paths.items() if path in names and (dims := seen.dims)}
    if not vectors:
        return ""
    fields = [
        f"  #     {names[p]}: {{from: {quoted(p)}, type: vector, dims: {dims}}}"
        for p, dims in vectors.items()
    ]
    attributes = "algorithm: hnsw, distance_metric: cosine"
    index = [
        f"  #       - {{name: {names[path]}, type: vector, attrs: {{dims: {dims}, {attributes}}}}}"
        for path, dims in vectors.items()
    ]
    return _VECTORS.format(name=name, fields="\n".join(fields), index="\n".join(index))
