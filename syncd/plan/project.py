"""One shape of a document in Redis: its key, its content, its time to live. Pure."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import jmespath
from bson.datetime_ms import DatetimeMS
from jmespath.exceptions import JMESPathError

from syncd.contract.model import FieldSpec, FieldTtl, Projection
from syncd.contract.template import KeyTemplate
from syncd.errors import ProjectionError
from syncd.plan.change import Content, Drop, Put
from syncd.plan.codec import OMIT, dump_json, hash_field, json_field, to_hash, to_json
from syncd.plan.keys import render
from syncd.plan.paths import MISSING, getter, related

_PLAIN_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_MAX_REMEMBERED = 4096
"""Updated paths whose meaning is remembered; array indexes make any number of them."""

Find = Callable[[Mapping[str, Any]], Any]
Encode = Callable[[Any], Any]


class Shape:
    """A compiled projection. `roots` are the paths it reads, or None for the whole document."""

    def __init__(self, projection: Projection, hmac_key: bytes | None) -> None:
        self.name = projection.projection
        self.type = projection.type
        self.template = KeyTemplate.parse(projection.key)
        self.by_id = self.template.by_id
        self.roots: set[str] | None = set(self.template.paths)
        self._render = render(self.template)
        self._whole = projection.whole
        self._leave_out = OMIT if self.type == "json" else None
        self._ttl_ms = projection.ttl if isinstance(projection.ttl, int) else 0
        self._ttl_at = self._compile_ttl(projection.ttl)
        specs = {"value": projection.value} if projection.value else projection.fields or {}
        self._single = projection.value is not None
        self._fields = [self._compile_field(name, spec, hmac_key) for name, spec in specs.items()]
        if self._whole:
            self.roots = None
        self.patchable = self._is_patchable(specs)
        self._by_path: dict[str, list[tuple[str, Encode]]] = {}
        for (name, _, encode), spec in zip(self._fields, specs.values(), strict=True):
            if spec.from_:
                self._by_path.setdefault(spec.from_, []).append((name, encode))
        self._meaning: dict[str, list[tuple[str, Encode]] | None] = {}

    def _reads(self, path: str) -> None:
        if self.roots is not None:
            self.roots.add(path)

    def _compile_field(self, name: str, spec: FieldSpec, hmac_key: bytes | None) -> tuple[str, Find, Encode]:
        compiled = json_field if self._dumps else hash_field
        encode: Encode = compiled(name, spec, hmac_key)
        if spec.from_ is not None:
            self._reads(spec.from_)
            return name, getter(spec.from_), encode
        return name, self._compile_expression(name, spec), encode

    @property
    def _dumps(self) -> bool:
        return self.type == "json" or (self.type == "string" and not self._single)

    def _compile_expression(self, name: str, spec: FieldSpec) -> Find:
        expression = jmespath.compile(spec.expr)
        needed = _expression_roots(expression.parsed)
        if needed is None:
            self.roots = None
        else:
            for root in needed:
                self._reads(root)

        def find(document: Mapping[str, Any]) -> Any:
            names = document if needed is None else needed & document.keys()
            try:
                result = expression.search({n: to_json(document[n]) for n in names})
            except JMESPathError as error:
                detail = f"field `{name}`: the expression fails on this document ({type(error).__name__})"
                raise ProjectionError("expression", detail) from None
            # JMESPath gives null for what is missing.
            return MISSING if result is None and spec.null != "keep" else result

        return find

    def _compile_ttl(self, ttl: int | FieldTtl | None) -> Find | None:
        if not isinstance(ttl, FieldTtl):
            return None
        self._reads(ttl.field)
        return getter(ttl.field)

    def _is_patchable(self, specs: Mapping[str, FieldSpec]) -> bool:
        """Whether an update may go in field by field, without reading the document again."""
        plain = all(
            spec.from_ and not any(part.isdigit() for part in spec.from_.split("."))
            for spec in specs.values()
        )
        names_fit = self.type == "hash" or all(_PLAIN_NAME.fullmatch(name) for name in specs)
        whole_key = self.by_id and self._ttl_at is None and not self._whole
        return plain and names_fit and whole_key and self.type in ("hash", "json")

    def key(self, document: Mapping[str, Any]) -> str:
        """The key of a document. Raises ProjectionError where a field of the template is missing."""
        return self._render(document)

    def ttl(self, document: Mapping[str, Any]) -> int:
        """0 none, > 0 milliseconds from now, < 0 minus a moment in epoch milliseconds."""
        if self._ttl_at is None:
            return self._ttl_ms
        value = self._ttl_at(document)
        if value is MISSING or value is None:
            return 0
        if not isinstance(value, DatetimeMS):
            raise ProjectionError("ttl_not_a_date", "the field of `ttl` holds no date")
        return min(-1, -int(value))  # a moment before 1970 has passed as well

    def content(self, document: Mapping[str, Any]) -> Content | None:
        """The encoded fields of a document, or the value of a string; None when that value is missing."""
        if self._whole:
            return self._everything(document)
        leave_out = self._leave_out
        fields: dict[str, Any] = {}
        for name, find, encode in self._fields:
            value = find(document)
            if value is not MISSING:
                encoded = encode(value)
                if encoded is not leave_out and encoded is not OMIT:
                    fields[name] = encoded
        if self.type != "string":
            return fields
        return fields.get("value") if self._single else dump_json(fields)

    def _everything(self, document: Mapping[str, Any]) -> Content:
        if self.type == "hash":
            return {name: to_hash(value) for name, value in document.items() if value is not None}
        everything: dict[str, Any] = to_json(document)
        return everything if self.type == "json" else dump_json(everything)

    def put(self, ident: str, document: Mapping[str, Any]) -> Put | Drop:
        """The whole new content of the document's key. Redis cannot hold an empty hash: then the key goes."""
        key, content = self.key(document), self.content(document)
        if content is None or (content == {} and self.type == "hash"):
            return Drop(self, ident, key)
        return Put(self, ident, key, content, self.ttl(document))

    def drop(self, ident: str, document_id: Any) -> Drop:
        """What removes the key of a document that is gone."""
        return Drop(self, ident, self._render({"_id": document_id}) if self.by_id else None)

    @property
    def patch_ttl(self) -> int:
        """The time to live that an update sets again."""
        return self._ttl_ms

    def untouched_by(self, path: str) -> bool:
        """Whether a change below `path` leaves this shape as it is."""
        return self._targets(path) == []

    def delta(
        self, updated: Mapping[str, Any], gone: Iterable[str]
    ) -> tuple[dict[str, Any], set[str]] | None:
        """An update as fields to set and fields to remove, or None where the document must be read.

        `updated`: path -> new value; `gone`: paths that were removed. Raises ProjectionError.
        """
        sets: dict[str, Any] = {}
        removed: set[str] = set()
        for path, value in updated.items():
            targets = self._targets(path)
            if targets is None:
                return None
            for name, encode in targets:
                encoded = encode(value)
                if encoded is self._leave_out or encoded is OMIT:
                    removed.add(name)
                else:
                    sets[name] = encoded
        for path in gone:
            targets = self._targets(path)
            if targets is None:
                return None
            removed.update(name for name, _ in targets)
        return sets, removed

    def _targets(self, path: str) -> list[tuple[str, Encode]] | None:
        """The fields that a change of `path` sets: none if it does not matter, None if only a read can tell."""
        try:
            return self._meaning[path]
        except KeyError:
            pass
        # An element of an array changes every path that walks through the array.
        plain = ".".join(part for part in path.split(".") if not part.isdigit())
        targets: list[tuple[str, Encode]] | None = self._by_path.get(path, [])
        if any(related(plain, other) and (other, plain) != (path, path) for other in self._by_path):
            targets = None
        if len(self._meaning) >= _MAX_REMEMBERED:
            self._meaning.clear()
        self._meaning[path] = targets
        return targets


def _expression_roots(node: Mapping[str, Any]) -> set[str] | None:
    """The top-level fields that a JMESPath expression reads, or None when it may read any."""
    kind, children = node["type"], node.get("children", [])
    if kind == "field":
        return {node["value"]}
    if kind == "current":
        return None
    if kind == "literal":
        return set()
    # What stands on the right of these is evaluated on the result of the left, not on the document.
    if kind in (
        "subexpression",
        "index_expression",
        "projection",
        "value_projection",
        "filter_projection",
        "pipe",
    ):
        return _expression_roots(children[0])
    if kind in {"flatten", "key_val_pair"}:
        return _expression_roots(children[0])
    if kind in ("index", "slice", "identity"):
        return None
    roots: set[str] = set()
    for child in children:
        found = _expression_roots(child)
        if found is None:
            return None
        roots |= found
    return roots
