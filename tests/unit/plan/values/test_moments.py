"""Moments as the world writes them, and what a number counts."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from bson.datetime_ms import DatetimeMS
from bson.decimal128 import Decimal128
from hypothesis import given
from hypothesis import strategies as st

from syncd.contract.model.redis.projection import FieldSpec
from syncd.contract.model.values import FieldType
from syncd.errors import ProjectionError
from syncd.plan.to_mongo.entry_field import EntryField, entry_field
from syncd.plan.to_redis.fields import compile_field
from syncd.plan.values.convert import convert

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def field(kind: FieldType, **more: Any) -> EntryField:
    return entry_field("at", FieldSpec.model_validate({"from": "at", "type": kind} | more))


@pytest.mark.parametrize(
    ("kind", "text", "millis"),
    [
        ("epoch", "1795909780.2428308", 1_795_909_780_242),
        ("epoch", "1795909780", 1_795_909_780_000),
        ("epoch", "1.795909780e9", 1_795_909_780_000),
        ("epoch", "-0.0015", -1),
        ("epoch", "2026-11-28T10:00:00.123456+00:00", 1_795_860_000_123),
        ("epoch_ms", "1795909780242", 1_795_909_780_242),
        ("epoch_ms", "1795909780242.9", 1_795_909_780_242),
        ("epoch_ms", "1795909780.2428308", 1_795_909_780_242),
        ("epoch_ms", "1795909780", 1_795_909_780),
        ("epoch_us", "1795909780242830", 1_795_909_780_242),
        ("epoch_us", "1795909780242830.8", 1_795_909_780_242),
        ("date", "1795909780242", 1_795_909_780_242),
        ("date", "1795909780.2428308", 1_795_909_780_242),
        ("date", "1795909780.0", 1_795_909_780_000),
        ("date", "-0.5", -500),
        ("date", "99999999999.5", 99_999_999_999_500),
        ("date", "100000000000.5", 100_000_000_000),
        ("date", "1795909780", 1_795_909_780),
        ("date", "-1", -1),
        ("date", "2026-11-28 10:00:00.123456+00", 1_795_860_000_123),
        ("date", "2026-11-28T10:00:00.123456789Z", 1_795_860_000_123),
        ("date", "9999-12-31T23:59:59.999Z", 253_402_300_799_999),
        ("date", "0001-01-01", -62_135_596_800_000),
    ],
)
def test_a_number_counts_what_its_type_says(kind: FieldType, text: str, millis: int) -> None:
    """Seconds, milliseconds or microseconds, as text and in JSON; what is finer than a millisecond is cut off."""
    assert field(kind).value(text.encode()) == DatetimeMS(millis)
    assert field(kind).value_of_json(text) == DatetimeMS(millis)
    if text.lstrip("-").replace(".", "").isdigit():
        assert field(kind).value_of_json(float(text) if "." in text else int(text)) == DatetimeMS(millis)


@pytest.mark.parametrize(
    ("kind", "text"),
    [
        ("epoch_ms", "1795909780242830"),
        ("epoch_ms", "253402300800000"),
        ("epoch_ms", "-62135596800001"),
        ("epoch", "1795909780242"),
        ("date", "+010000-01-01T00:00:00Z"),
        ("date", "0000-12-31T23:59:59.999Z"),
        ("epoch_us", "1e30"),
        ("epoch", "nan"),
        ("epoch", "inf"),
        ("epoch", "1e99999"),
        ("date", "now"),
        ("date", ""),
        ("epoch", "True"),
    ],
)
def test_no_moment_that_drivers_cannot_read(kind: FieldType, text: str) -> None:
    """What is no moment, or one beyond the years 1 to 9999, such as microseconds taken for milliseconds, is refused."""
    for read in (lambda: field(kind).value(text.encode()), lambda: field(kind).value_of_json(text)):
        with pytest.raises(ProjectionError, match="field at: "):
            read()


@pytest.mark.parametrize(
    ("kind", "text"),
    [
        ("epoch", "1795909780.2428308"),
        ("epoch_ms", "1795909780242.5"),
        ("epoch_us", "1"),
        ("date", "2026-11-28T10:00:00.0001Z"),
    ],
)
def test_who_wants_a_dead_letter_gets_it(kind: FieldType, text: str) -> None:
    """`round: false` refuses what is finer than a millisecond, and nothing else."""
    with pytest.raises(ProjectionError, match="millisecond"):
        field(kind, round=False).value(text.encode())
    assert field(kind, round=False).value(b"1000") == field(kind).value(b"1000")


@given(st.datetimes(timezones=st.just(UTC)), st.sampled_from([timedelta(0), timedelta(hours=5, minutes=30)]))
def test_whatever_python_writes(moment: datetime, offset: timedelta) -> None:
    """`isoformat()` and `str()` of any datetime give its milliseconds, cut off towards 1970."""
    micros = (moment - EPOCH) // timedelta(microseconds=1)
    millis = abs(micros) // 1000 * (1 if micros > 0 else -1)
    sign = f"+{offset.seconds // 3600:02d}:{offset.seconds % 3600 // 60:02d}"
    try:
        local = (moment + offset).replace(tzinfo=None)
    except OverflowError:
        return
    for text in (f"{local.isoformat()}{sign}", f"{local}{sign}"):
        assert field("date").value(text.encode()) == DatetimeMS(millis)


@pytest.mark.parametrize(
    ("value", "kind", "shown"),
    [
        (1795909780.242, "date", 1_795_909_780_242),
        (1795909780.242, "epoch_ms", 1_795_909_780_242),
        (Decimal128("1795909780.2428308"), "date", 1_795_909_780_242),
        ("1795909780.2428308", "date", 1_795_909_780_242),
        (1795909780242.5, "date", 1_795_909_780_242),
        (63_000_000_000.0, "date", 63_000_000_000),
        (1795909780, "date", 1_795_909_780),
        (Decimal128("1E+6000"), "date", None),
    ],
)
def test_seconds_in_a_document(value: Any, kind: FieldType, shown: int | None) -> None:
    """A small double with a fraction is seconds there too; a whole one, as JavaScript writes milliseconds, is not."""
    if shown is None:
        with pytest.raises(ProjectionError):
            convert(value, kind)
    else:
        assert int(convert(value, kind)) == shown


@pytest.mark.parametrize(
    ("text", "is_noted"),
    [
        ("1795909780", True),
        ("9999999999", True),
        ("999999999", False),
        ("10000000000", False),
        ("0000000001", False),
        ("1795909780.5", False),
        ("1970-01-20", False),
    ],
)
def test_integers_that_look_like_seconds_are_noted(text: str, is_noted: bool) -> None:
    """nothing_silent: under `type: date` they are January to April 1970, in both directions and both kinds of keys."""
    spec = FieldSpec.model_validate({"from": "at", "type": "date"})
    noted: list[str] = []
    there, back = (
        compile_field("at", spec, None, as_json=False, note=noted.append),
        entry_field("at", spec, noted.append),
    )
    back.value(text.encode())
    back.value_of_json(int(text) if text.isdigit() else text)
    there.encode(int(text) if text.isdigit() else text)
    there.encode(text)
    assert noted == ["1970"] * 4 * is_noted
    entry_field("at", spec.model_copy(update={"type": "epoch"}), noted.append).value(b"1795909780")
    assert len(noted) == 4 * is_noted
