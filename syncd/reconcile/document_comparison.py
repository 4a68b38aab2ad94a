"""Compares some documents with their keys: what the plan wants, what Redis holds, and how they differ."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, NamedTuple

from syncd.plan.keys.templates import decode_key_value
from syncd.plan.to_redis.change import Dead, Drop, Elements, Put, Write
from syncd.plan.to_redis.compile import Plan
from syncd.plan.to_redis.member_shape import MemberShape
from syncd.plan.to_redis.shape import Shape
from syncd.plan.to_redis.shared_hash import SharedHashShape
from syncd.reconcile.compare import CONTENT, DEAD, EXTRA, Flaw, flaw
from syncd.reconcile.member_comparison import compare_fields, compare_members
from syncd.reconcile.reader import KeyReader
from syncd.stores.mongo.store import Document
from syncd.stores.paging import paged
from syncd.stores.redis.records.keys.key_maps import KeyMaps

RECORDS, ELEMENTS = 50, 500
"""Documents whose records are read at once, and keys of elements."""
_ANOTHER_KEY = ("(key)",)
_NO_OWNER = ("(owner)",)


class Difference(NamedTuple):
    """One key that differs."""

    projection: str
    key: str
    kind: str
    fields: tuple[str, ...]


class DocumentDifferences(NamedTuple):
    """The keys of one document that differ. `wanted` is a digest of what they should hold."""

    differences: list[Difference]
    wanted: bytes


class DocumentComparison:
    """Compares documents of one plan with their keys, for one thread."""

    def __init__(self, plan: Plan, reader: KeyReader, maps: KeyMaps) -> None:
        self._plan, self._reader, self._maps = plan, reader, maps
        self._plain = all(shape.by_id for shape in plan.shapes)

    def differing(
        self, documents: Mapping[str, Document | None], time: str
    ) -> dict[str, DocumentDifferences]:
        """Documents by ident, None for one that is gone. Those whose keys hold what they should are left out."""
        writes = self._wanted(documents, time)
        keys = [write for write in writes if isinstance(write, Put | Drop)]
        flawed = self._by_id(keys) if self._plain else self._mixed(keys)
        flawed += self._elements([write for write in writes if isinstance(write, Elements | Drop)])
        differences: dict[str, list[Difference]] = {}
        for write, key, (kind, fields) in flawed:
            differences.setdefault(write.ident, []).append(Difference(write.shape.name, key, kind, fields))
        for dead in writes:
            if isinstance(dead, Dead):
                differences.setdefault(dead.ident, []).append(Difference(dead.projection, dead.key, DEAD, ()))
        wanted = _digests(writes, differences)
        return {ident: DocumentDifferences(found, wanted[ident]) for ident, found in differences.items()}

    def wanted(self, documents: Mapping[str, Document | None], time: str) -> dict[str, bytes]:
        """What the keys of these documents should hold, as digests; see `DocumentDifferences`."""
        return _digests(self._wanted(documents, time), documents)

    def _wanted(self, documents: Mapping[str, Document | None], time: str) -> list[Write]:
        there = {ident: document for ident, document in documents.items() if document is not None}
        writes = self._plan.copies(there, time)
        for ident, document in documents.items():
            if document is None:
                writes += self._plan.drops(ident, decode_key_value(ident), deleted=False)
        return writes

    def _elements(self, writes: list[Elements | Drop]) -> list[tuple[Put | Drop, str, Flaw]]:
        """Of documents that have a key for each element."""
        found: list[tuple[Put | Drop, str, Flaw]] = []
        for shape in self._plan.shapes if writes else ():
            mine = [write for write in writes if write.shape is shape] if shape.each else []
            for page in paged(mine, RECORDS):
                records = self._reader.records_of(shape, [write.ident for write in page])
                for write in page:
                    found += self._of_one(shape, write, records.get(write.ident, []))
        return found

    def _of_one(
        self, shape: Shape, write: Elements | Drop, recorded: list[str]
    ) -> Iterator[tuple[Put | Drop, str, Flaw]]:
        wanted = {put.key: put for put in (write.puts if isinstance(write, Elements) else ())}
        held = {one.key: one for one in self._maps.of(shape, list({**wanted, **dict.fromkeys(recorded)}))}
        # An element that another document has by now, as the maps say soundly, is that document's.
        mine = {key for key, one in held.items() if one.ident in ("", write.ident) or not one.is_sound}
        own: list[Put | Drop] = [put for key, put in wanted.items() if key in mine]
        own += [Drop(shape, write.ident, key) for key in recorded if key in mine and key not in wanted]
        for page in paged(own, ELEMENTS):
            flawed = self._by_id(page)
            yield from flawed
            noted = {key for _, key, _ in flawed}
            for put in page:
                said = held[put.key or ""]
                if (
                    type(put) is Put
                    and put.key not in noted
                    and not (said.is_sound and said.ident == put.ident)
                ):
                    yield put, put.key, (CONTENT, _NO_OWNER)

    def _by_id(self, writes: list[Put | Drop]) -> list[tuple[Put | Drop, str, Flaw]]:
        answers, now = self._reader.read(writes)
        found: list[tuple[Put | Drop, str, Flaw]] = []
        for write, (content, expires) in zip(writes, answers, strict=True):
            wrong = flaw(write, content, expires, now)
            if wrong is not None:
                found.append((write, write.key or "", wrong))
        return found

    def _mixed(self, writes: list[Put | Drop]) -> list[tuple[Put | Drop, str, Flaw]]:
        found = self._by_id([write for write in writes if write.shape.by_id])
        for shape in self._plan.shapes:
            if isinstance(shape, MemberShape):
                ours = [write for write in writes if write.shape is shape]
                if isinstance(shape, SharedHashShape):
                    found += compare_fields(self._reader, shape, ours)
                else:
                    found += compare_members(self._reader, shape, ours)
            elif not shape.by_id and not shape.each:
                found += self._mapped(shape, [write for write in writes if write.shape is shape])
        return found

    def _mapped(self, shape: Shape, writes: list[Put | Drop]) -> list[tuple[Put | Drop, str, Flaw]]:
        """Where only a map says which document has which key."""
        keys = self._reader.keys_of(shape, [write.ident for write in writes])
        puts = [write for write in writes if type(write) is Put]
        owners = self._reader.owners_of(shape, [write.key for write in puts])
        # An entry counts where the other map agrees; a false one, or none, is a flaw of the key's own document.
        has_key = self._reader.keys_of(shape, set(owners.values()))
        sound = {key: owner for key, owner in owners.items() if has_key.get(owner) == key}
        found: list[tuple[Put | Drop, str, Flaw]] = []
        own: list[Put | Drop] = []
        for write in writes:
            has = keys.get(write.ident)
            if type(write) is Put and sound.get(write.key, write.ident) == write.ident:
                own.append(write)
            elif (
                has is not None
            ):  # it should have none: the document is gone, or another one has the key by now
                found.append((write, has, (EXTRA, ())))
        found += self._by_id(own)
        noted = {write.ident for write, _, _ in found}
        found += [
            (write, write.key or "", (CONTENT, _ANOTHER_KEY if key != write.key else _NO_OWNER))
            for write in own
            if write.ident not in noted
            and ((key := keys.get(write.ident)) != write.key or owners.get(write.key or "") != write.ident)
            and (type(write) is Put)
        ]
        return found


def _digests(writes: Iterable[Write], idents: Iterable[str]) -> dict[str, bytes]:
    texts: dict[str, list[Any]] = {ident: [] for ident in idents}
    for write in writes:
        if isinstance(write, Put | Drop) and write.ident in texts:
            content = (write.content, write.ttl) if type(write) is Put else None
            texts[write.ident].append((write.shape.name, write.key, content))
        elif isinstance(write, Elements) and write.ident in texts:
            contents = [(put.key, put.content, put.ttl) for put in write.puts]
            texts[write.ident].append((write.shape.name, contents))
    return {
        ident: hashlib.blake2b(repr(said).encode(errors="surrogatepass"), digest_size=16).digest()
        for ident, said in texts.items()
    }
