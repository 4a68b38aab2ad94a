"""Members of keys that documents share: what is in the keys, and what the map says. Only reads."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from syncd.plan.keys.templates import parse_key
from syncd.plan.to_redis.change import Retired
from syncd.plan.to_redis.member_shape import MemberShape
from syncd.plan.to_redis.shape import Shape
from syncd.plan.types import unpacked
from syncd.stores.paging import paged
from syncd.stores.redis.records.position import ControlKeys
from syncd.stores.redis.scan import SCAN_COUNT, WHOLE_MAP, KeyScan
from syncd.stores.redis.store import RedisStore, translated

MOST_AT_ONCE = 100_000
"""Members of a key that has no cursor: of a larger one some are listed."""


class Member(NamedTuple):
    """One member of a key."""

    ident: str
    """Of the document whose member it would be; "" where it can be none's."""
    key: str
    member: bytes


def weight(shape: Retired, page: Mapping[str, list[tuple[str, str]]]) -> int:
    """How much of a limit a page of the map is: of hashes that projections share documents count, not fields."""
    return len(page) if shape.template.fields else sum(map(len, page.values()))


class Members:
    """Of one contract."""

    def __init__(self, store: RedisStore, control: ControlKeys) -> None:
        self._store, self._control, self._scan = store, control, KeyScan(store, control)

    def is_known(self, shape: Shape | Retired) -> bool:
        """Whether the map has all that was copied since the copy began, or all."""
        with translated():
            return all(
                node.client.hexists(self._name(node, shape), WHOLE_MAP.decode()) for node in self._store.nodes
            )

    def is_whole(self, shape: Shape | Retired) -> bool:
        """Whether all documents are in the map, as far as they have been copied."""
        with translated():
            return all(self._is_whole(node, shape) for node in self._store.nodes)

    def _is_whole(self, node: RedisStore, shape: Shape | Retired) -> bool:
        is_whole = node.client.hget(self._name(node, shape), WHOLE_MAP.decode()) == b"1"
        if not (is_whole and isinstance(shape, MemberShape) and shape.expires):
            return is_whole
        deadlines = self._control.at(node.place).deadlines(shape.name, shape.template.text)
        return node.client.zscore(deadlines, WHOLE_MAP.decode()) is not None

    def in_map(self, shape: Retired) -> Iterator[Mapping[str, list[tuple[str, str]]]]:
        """What documents are members of, by ident, page by page."""
        return self._scan.memberships(shape)

    def count(self, shape: Retired) -> Iterator[int]:
        """Memberships by the map, page by page; of hashes documents."""
        for page in self.in_map(shape):
            yield weight(shape, page)

    def said(self, shape: Shape | Retired, idents: Sequence[str]) -> dict[str, set[tuple[str, str]]]:
        """What these documents are members of by the map, where it has them."""
        known: dict[str, set[tuple[str, str]]] = {}
        for node in self._store.nodes if idents else ():
            with translated():
                found: Any = node.client.hmget(self._name(node, shape), list(idents))
            for ident, said in zip(idents, found, strict=True):
                if said is not None:
                    known.setdefault(ident, set()).update(unpacked(said))
        return known

    def unmapped(self, shape: MemberShape) -> Iterator[list[Member]]:
        """Members that no document has by the map, page by page."""
        if not shape.members.has_strays:
            return
        for page in self._listed(shape):
            yield self.still_unmapped(shape, page)

    def still_unmapped(self, shape: MemberShape, members: list[Member]) -> list[Member]:
        """Those of these that no document has by the map."""
        known = self.said(shape, sorted({one.ident for one in members}))
        return [one for one in members if _pair(one) not in known.get(one.ident, ())]

    def there_unmapped(self, shape: MemberShape, members: list[Member]) -> list[Member]:
        """The same, of those that are there."""
        found: list[Member] = []
        for node, keys in self._store.by_node(sorted({one.key for one in members})):
            here = {*keys}
            found += self._there_unmapped(node, shape, [one for one in members if one.key in here])
        return found

    def _there_unmapped(self, node: RedisStore, shape: MemberShape, members: list[Member]) -> list[Member]:
        """Member and map are read in one step; in a cluster, where a step has keys of one slot, the map before and
        behind the member."""
        pipe = node.client.pipeline(transaction=not node.place)
        for one in members:
            pipe.hget(self._name(node, shape), one.ident)
            pipe.execute_command(*shape.members.ask(one.key, one.member)[0])
            pipe.hget(self._name(node, shape), one.ident)
        with translated():
            found = pipe.execute(raise_on_error=False)
        return [
            one for one, before, reply, behind in zip(members, *(found[at::3] for at in range(3)), strict=True)
            if not isinstance(reply, Exception) and shape.members.is_there([reply])
            and not any(_pair(one) in unpacked(said or b"[]") for said in (before, behind))
        ]  # fmt: skip

    def _listed(self, shape: MemberShape) -> Iterator[list[Member]]:
        """All members of all keys of the template that have its type."""
        for keys in self._scan.keys(Retired(shape.name, shape.type, shape.template)):
            for key in keys:
                if parse_key(shape.template, key) is None or not self._has_type(shape, key):
                    continue
                for page in self._pages(shape, key):
                    yield [
                        Member(shape.ident_in(key, one) or "", key.decode(), one)
                        for one in page if shape.is_own(one)
                    ]  # fmt: skip

    def _has_type(self, shape: MemberShape, key: bytes) -> bool:
        with translated():
            kind: Any = self._store.at_key(key).client.type(key)
        return bool(kind == shape.redis_type.encode())

    def _pages(self, shape: MemberShape, key: bytes) -> Iterator[list[bytes]]:
        if shape.members.scan is None:
            yield from self._at_once(key)
            return
        cursor: Any = 0
        while True:
            with translated():
                reply: Any = self._store.at_key(key).client.execute_command(
                    shape.members.scan, key, cursor, "COUNT", SCAN_COUNT
                )
            cursor, found = reply
            if found:
                yield [one if isinstance(one, bytes) else one[0] for one in found]
            if int(cursor) == 0:
                return

    def _at_once(self, key: bytes) -> Iterator[list[bytes]]:
        with translated():
            client = self._store.at_key(key).client
            found: Any = client.execute_command("VRANDMEMBER", key, MOST_AT_ONCE)
        yield from paged(found, SCAN_COUNT)

    def _name(self, node: RedisStore, shape: Shape | Retired) -> str:
        return self._control.at(node.place).members(shape.name, shape.template.text)


def _pair(member: Member) -> tuple[str, str]:
    return member.key, member.member.decode(errors="replace")
