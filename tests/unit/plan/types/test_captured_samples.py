"""Samples of series as documents: pages of them, what each holds, and what a person writes."""

from __future__ import annotations

import pytest

from syncd.plan.types import CapturedSamples

SAMPLES = CapturedSamples()
LABELS = [[b"site", b"north"], [b"room", b"7"]]


def test_pages_lead_from_the_newest_sample_to_the_first() -> None:
    """A full page is followed by what is before its last sample, also before one in the first millisecond of all."""
    assert SAMPLES.page(b"k", 0) == ("TS.REVRANGE", b"k", 0, 253_402_300_799_999, "COUNT", 1000)
    assert SAMPLES.page(b"k", 7)[3] == 6
    full = [[moment, b"1"] for moment in range(1006, 6, -1)]
    assert SAMPLES.scanned(full) == (7, [b"%d" % moment for moment, _ in full])
    assert SAMPLES.scanned(full[1:])[0] == SAMPLES.scanned([])[0] == 0


def test_what_a_sample_holds() -> None:
    """Its value and the labels of its series, as they are in Redis, also those that are no text: the contract may not
    ask for them."""
    found = SAMPLES.contents([[[5, b"21.5"], [4, b"-1"]], [b"totalSamples", 2, b"labels", LABELS]])
    assert SAMPLES.members(found[b"5"]) == {b"value": b"21.5", b"label site": b"north", b"label room": b"7"}
    assert SAMPLES.members(found[b"4"])[b"value"] == b"-1"
    assert SAMPLES.content([[], [b"labels", LABELS]]) is None
    odd = [[b"site", b"\xff"], [b"\xfe", b"\\"], [b"room", "7°".encode()]]
    wanted = {b"value": b"1", b"label site": b"\xff", b"label \xfe": b"\\", b"label room": "7°".encode()}
    assert SAMPLES.members(SAMPLES.content([[[5, b"1"]], [b"labels", odd]])) == wanted
    of_redis = b'["1","site","\xff","\xfe","\\\\","room","7\xc2\xb0"]'  # as cjson writes it
    assert SAMPLES.members(of_redis) == wanted


def test_what_a_person_writes() -> None:
    """Moments with numbers, or with a value and labels."""
    given = SAMPLES.each({5: 21, 6: {"value": 1.5, "labels": {"site": "north"}}})
    assert SAMPLES.members(given["5"]) == {b"value": b"21.0"}
    assert SAMPLES.members(given["6"]) == {b"value": b"1.5", b"label site": b"north"}
    for wrong in ([], {}, 7):
        with pytest.raises(ValueError, match="a mapping of moments"):
            SAMPLES.each(wrong)
