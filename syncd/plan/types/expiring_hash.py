"""Hashes of which some fields expire by themselves."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from syncd.plan.types.base import Names, Need
from syncd.plan.types.hash import HASH, Hash, as_text
from syncd.plan.values.texts import as_bytes

if TYPE_CHECKING:
    from syncd.plan.to_redis.change import Content, Put

LAST_MOMENT: Final = 2**46 - 1
"""The last at which Redis lets a field expire, in the year 4199."""
SOON_MS: Final = 1_000
"""A field that expires within this time may be gone when it is read."""
STAYS = -1
"""What HPEXPIRETIME says of a field that does not expire."""


class Expiring(NamedTuple):
    """A value that expires by itself."""

    value: bytes
    moment: int
    """In epoch milliseconds."""


class ExpiringHash(Hash):
    """A hash as any other; HSET takes away when a field expires, so each write says it again, in the same step."""

    def also_read(self, names: Sequence[str]) -> tuple[bytes, ...] | None:
        """When these fields expire."""
        return (b"HPEXPIRETIME", b"FIELDS", b"%d" % len(names), *(name.encode() for name in names))

    def expiring(self, value: Any, moment: int) -> Any:
        """The value alone where the moment is later than Redis can say."""
        return value if moment > LAST_MOMENT else Expiring(as_text(value)[1], max(0, moment))

    def is_over(self, content: Content, now: int) -> bool:
        """Redis holds no hash without fields."""
        assert isinstance(content, dict)
        return all(type(value) is Expiring and is_over(value, now) for value in content.values())

    def put(self, content: Content, ttl: int) -> Sequence[Any]:
        """Code, ttl, number of names and values, name, value, ..., number of moments and names, moment, name, ..."""
        assert isinstance(content, dict)
        values = {name: value.value if type(value) is Expiring else value for name, value in content.items()}
        _, *body = super().put(values, ttl)
        moments = [(value.moment, name) for name, value in content.items() if type(value) is Expiring]
        return ["eh", *body, 2 * len(moments), *(part for pair in moments for part in pair)]

    def shown(self, content: Content) -> Any:
        """The values alone."""
        assert isinstance(content, dict)
        values = {name: value.value if type(value) is Expiring else value for name, value in content.items()}
        return super().shown(values)

    def moments(self, content: Content) -> dict[str, int]:
        """Of the fields that expire."""
        assert isinstance(content, dict)
        return {name: value.moment for name, value in content.items() if type(value) is Expiring}

    def differing(self, write: Put, found: Any) -> Names:
        """By the bytes of each field and when it expires. One that has expired need not be there."""
        reply, moments, now = found
        there = self.found(reply)
        expires = dict(zip(map(str.encode, write.shape.expiring), moments, strict=True))
        assert isinstance(write.content, dict)
        wanted = {name.encode(): value for name, value in write.content.items()}
        return tuple(
            name.decode(errors="replace")
            for name in {**wanted, **there}
            if not is_as_wanted(wanted.get(name), there.get(name), expires.get(name, STAYS), now)
        )


def is_over(wanted: Expiring, now: int) -> bool:
    """Whether the field may be gone."""
    return wanted.moment <= now + SOON_MS


def is_as_wanted(wanted: Any, found: bytes | None, expires: int, now: int) -> bool:
    """Whether a field is there as it should be, and expires when it should; None where it should not be there."""
    if type(wanted) is not Expiring:
        return found is None if wanted is None else (found, expires) == (as_bytes(wanted), STAYS)
    return is_over(wanted, now) if found is None else (found, expires) == wanted


EXPIRING_HASH = replace(
    HASH,
    fields=ExpiringHash(),
    need=Need(
        "field expiry",
        "HPEXPIREAT",
        "single fields that expire (their `ttl`)",
        "use Redis 7.4 or later, or Valkey 9, or leave `ttl` of the fields out",
    ),
)
"""A hash with such fields; to everything else the same type."""
