"""Doubles as RedisJSON reads them: not always as they are written.

RedisJSON takes the digits of a number as an integer, rounds that to a double, and divides it by a power of ten, or
multiplies it, which rounds once more. So one in eight doubles of 16 or 17 digits is read as a neighbour. Nearly every
such double has another text that is read exactly. One in a thousand has none, and is compared as RedisJSON reads it.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator
from itertools import compress
from operator import ne, truediv
from typing import Any, TypeAlias

import orjson

_POWERS = tuple(float(f"1e{power}") for power in range(309))
_EXACT_POWERS = 22
"""Up to here a power of ten is a double, and every exact reader reads a text alike."""
_MOST, _LOG_MOST = 2.0**64, math.log10(2.0**64)
"""RedisJSON counts digits in 64 bits, and leaves out what follows."""
_LONG = 17
"""Fewer characters without an exponent are at most 15 digits, which are read exactly."""
_LARGE = 1e15
"""From here on orjson may write other zeros than `repr`."""
_MANY = 16
"""Lists of at least this length are checked in one call."""

# A search for one literal is ten times as fast as any other, so there are three.
_LONG_FRACTION = re.compile(rb"\.[0-9]{13}").search
_LONG_NUMBER = re.compile(
    rb"\.(?<=[0-9]{4}\.)(?:[0-9]{8}|(?<=[0-9]{9}\.)(?:[0-9]{3}|(?<=[0-9]{12}\.)))"
).search
_EXPONENT = re.compile(rb"e[-+]").search

Replace: TypeAlias = Callable[[float], Any]


def is_doubtful(text: bytes) -> bool:
    """Whether JSON text of orjson may hold a double that RedisJSON misreads: one with 16 digits, or an exponent."""
    return bool(_LONG_FRACTION(text) or _LONG_NUMBER(text) or _EXPONENT(text))


def readable(value: Any) -> Any:
    """The value for orjson, with a text of our own for each double that RedisJSON would misread."""
    return _replaced(value, _written)


def as_read(value: Any) -> Any:
    """What RedisJSON makes of `readable`; nearly always the value itself."""
    return _replaced(value, _as_read)


def double_read(value: float) -> float:
    """What RedisJSON makes of a double."""
    return _as_read(value) if _is_misread(value) else value


def _is_misread(value: float) -> bool:
    """Whether RedisJSON reads another double than orjson writes, or may. NaN and infinities are short."""
    text = repr(value)
    return (len(text) >= _LONG or "e" in text) and (abs(value) >= _LARGE or _is_rounded(value))


def _written(value: float) -> Any:
    return orjson.Fragment(_best_text(value))


def _as_read(value: float) -> float:
    return _read(*_parts(_best_text(value)))


def _best_text(value: float) -> str:
    """Of a double that is misread: a text of up to 20 digits that is not. The shortest, where that is read as well as
    any."""
    size = abs(value)
    if size >= _LARGE and not _is_rounded(value):
        return repr(value)
    found = _quickly(size) or _thoroughly(size)
    return f"{'-' if value < 0 else ''}{int(found[0])}e{-found[1]}" if found else repr(value)


def _is_rounded(value: float) -> bool:
    return _read(*_parts(repr(value))) != value


def _quickly(size: float) -> tuple[float, int] | None:
    """Nearly always one of the largest integers will do."""
    most = math.floor(_LOG_MOST - math.log10(size))
    if 2 <= most <= _EXACT_POWERS:
        for power in (most, most - 1, most - 2):
            scale = _POWERS[power]
            middle = size * scale
            for digits in (middle, math.nextafter(middle, math.inf), math.nextafter(middle, 0.0)):
                if digits / scale == size and digits < _MOST:
                    return digits, power
    return None


def _thoroughly(size: float) -> tuple[float, int] | None:
    """All that RedisJSON can read is found: integers of up to 64 bits over powers of ten. Under an exact power, one of
    53 bits is the shortest text, which was misread."""
    most = math.floor(_LOG_MOST - math.log10(size))
    powers = [p for p in range(most, most - 21, -1) if abs(p) > _EXACT_POWERS or p > most - 4]
    for power in sorted(powers, key=lambda power: abs(power) > _EXACT_POWERS):
        for digits in _near(_scaled(size, power)):
            if 1 <= digits < _MOST and _read(digits, -power) == size:
                return digits, power
    return None


def _scaled(size: float, power: int) -> float:
    if power < 0:
        return size / _POWERS[-power]
    return size * _POWERS[min(power, 308)] * _POWERS[max(power - 308, 0)]


def _near(number: float) -> Iterator[float]:
    """Integers that are doubles, about this number."""
    step, middle = max(1.0, math.ulp(number) / 2), float(round(number))
    return (middle + steps * step for steps in (0, -1, 1, -2, 2, -3, 3, -4, 4))


def _replaced(value: Any, replace: Replace) -> Any:
    """The value, or a copy of it where a double in it is replaced."""
    kind = type(value)
    if kind is float:
        return replace(value) if _is_misread(value) else value
    if kind is list:
        return _replaced_in_list(value, replace)
    if kind is not dict:
        return value
    copy: dict[str, Any] = {}
    for name, item in value.items():
        kind = type(item)
        if kind is float or kind is dict or kind is list:
            new = _replaced(item, replace)
            if new is not item:
                copy = copy or dict(value)
                copy[name] = new
    return copy or value


def _replaced_in_list(value: list[Any], replace: Replace) -> list[Any]:
    kinds = {*map(type, value)}
    if kinds.isdisjoint(_WITH_DOUBLES):
        return value
    if kinds == {float} and len(value) >= _MANY and max(value) < 10 and min(value) > -10:
        found = {at: replace(value[at]) for at in _misread(value)}
    else:
        found = {at: _replaced(item, replace) for at, item in enumerate(value) if type(item) in _WITH_DOUBLES}
    changed = {at: new for at, new in found.items() if new is not value[at]}
    if not changed:
        return value
    copy = value[:]
    for at, new in changed.items():
        copy[at] = new
    return copy


_WITH_DOUBLES = frozenset((float, dict, list))


def _misread(value: list[float]) -> Iterator[int]:
    """Where RedisJSON would read another number, of doubles with one digit before the point: nearly every vector is
    such a list. In C, for it has a thousand of them."""
    digits = orjson.dumps(value).translate(None, b"[-.]").split(b",")
    if not all(map(bytes.isdigit, digits)):  # an exponent
        return (at for at, item in enumerate(value) if _is_misread(item))
    read = map(truediv, map(int, digits), map(_SCALES.__getitem__, map(len, digits)))
    return compress(range(len(value)), map(ne, read, map(abs, value)))


_SCALES = (math.nan, *_POWERS)
"""By the number of digits, of which one stands before the point."""


def _parts(text: str) -> tuple[int, int]:
    mantissa, _, exponent = text.partition("e")
    whole, _, fraction = mantissa.partition(".")
    return int(whole + fraction), int(exponent or 0) - len(fraction)


def _read(digits: float, exponent: int) -> float:
    """As RedisJSON does it: a step for each 308 of the exponent."""
    number = float(digits)
    if exponent < -308:
        number, exponent = number / _POWERS[308], exponent + 308
    return number * _POWERS[exponent] if exponent >= 0 else number / _POWERS[-exponent]
