"""Fields of a hash that expire by themselves: what a write says of them, what needs a read, and what is no drift."""

from __future__ import annotations

from typing import Any

import pytest
from bson.datetime_ms import DatetimeMS

from syncd.plan.to_redis.change import Dead, Drop, Put
from syncd.plan.to_redis.compile import Plan, compile_contract
from syncd.plan.types.expiring_hash import LAST_MOMENT, Expiring
from syncd.reconcile.compare import NO_KEY, NO_TTL, flaw
from tests.support.contracts import model, projection

NOW = 1_800_000_000_000
CODE: dict[str, Any] = {"from": "auth.code", "ttl": {"field": "auth.until"}}


def plan_of(**fields: Any) -> Plan:
    return compile_contract(model(projection({"code": CODE, "name": "name", **fields})))


def written(document: dict[str, Any], **fields: Any) -> Any:
    (write,) = plan_of(**fields).puts("1", {"_id": 1, **document}, "", {})
    return write


def auth(code: Any, until: Any = None) -> dict[str, Any]:
    return {"auth": {"code": code} if until is None else {"code": code, "until": until}}


def test_a_value_has_its_moment() -> None:
    """By the date beside it; without one, with null, or with one beyond what Redis can say, it stays."""
    content = written({"name": "a", **auth("ä", DatetimeMS(NOW))}).content
    assert content == {"code": Expiring("ä".encode(), NOW), "name": "a"}
    assert written(auth(7, DatetimeMS(-5))).content == {"code": Expiring(b"7", 0)}
    for until in (None, DatetimeMS(LAST_MOMENT + 1)):
        assert written(auth("x", until)).content == {"code": "x"}
    assert written({"auth": {"code": "x", "until": None}}).content == {"code": "x"}


def test_without_a_value_there_is_no_moment() -> None:
    """The field is left out as any other; without any field there is no key."""
    assert isinstance(written({"auth": {"until": DatetimeMS(NOW)}}), Drop)
    assert written({"name": "a", "auth": {"code": None, "until": "no date"}}).content == {"name": "a"}


def test_what_is_no_date() -> None:
    """A dead letter with the name of the field."""
    dead = written(auth("x", "tomorrow"))
    assert isinstance(dead, Dead)
    assert (dead.reason, dead.detail) == (
        "ttl_not_a_date",
        "field `code`: the field that says when it expires holds no date",
    )


def test_text_that_is_no_unicode() -> None:
    """A dead letter at once, for it is found nowhere later."""
    assert written(auth("\udcff", DatetimeMS(NOW))).reason == "not_unicode"


def test_the_operation() -> None:
    """Values, then moments, in one call."""
    write = written({"name": "a", **auth("x", DatetimeMS(NOW))})
    body = write.shape.form.put(write.content, 9)
    assert list(body) == ["eh", 9, 4, "code", b"x", "name", "a", 2, NOW, "code"]


@pytest.mark.parametrize(
    ("updated", "removed", "is_delta"),
    [
        (["name"], [], True),
        (["other"], [], True),
        (["auth.code"], [], False),
        (["auth.until"], [], False),
        (["auth.until"], ["name"], False),
        ([], ["auth.until"], False),
        (["auth"], [], False),
        (["auth.until.x"], [], False),
        (["auth.else"], [], True),
    ],
)
def test_which_updates_need_a_read(updated: list[str], removed: list[str], is_delta: bool) -> None:
    """Those of the value or of its date, which mean nothing without each other; others do not touch the field."""
    said = {"updatedFields": dict.fromkeys(updated, "x"), "removedFields": removed}
    assert (plan_of().deltas.read(said) is not None) is is_delta


def test_what_a_read_asks_for() -> None:
    """The path of the date as well."""
    plan = plan_of()
    assert plan.find_projection == {"_id": 1, "auth.code": 1, "auth.until": 1, "name": 1}


def put(*codes: Any) -> Put:
    """Fields a, b, ... with these moments; None for one that stays."""
    fields = {
        name: {"from": name, "ttl": {"field": f"{name}_until"}} for name, _ in zip("abc", codes, strict=False)
    }
    document: dict[str, Any] = {"_id": 1}
    for name, moment in zip("abc", codes, strict=False):
        document |= {name: name, f"{name}_until": None if moment is None else DatetimeMS(moment)}
    (write,) = compile_contract(model(projection(fields))).puts("1", document, "", {})
    assert isinstance(write, Put)
    return write


@pytest.mark.parametrize(
    ("moments", "there", "expires", "wanted"),
    [
        ([NOW + 9999, None], "ab", [NOW + 9999, -1], ()),
        ([NOW - 1, None], "b", [-2, -1], ()),  # has expired
        ([NOW + 500, None], "b", [-2, -1], ()),  # may have, since Redis said what time it is
        ([NOW + 9999, None], "b", [-2, -1], ("a",)),
        ([NOW + 9999, None], "ab", [-1, -1], ("a",)),
        ([NOW + 9999, None], "ab", [NOW + 9998, -1], ("a",)),
        ([NOW + 9999, None], "ab", [NOW + 9999, NOW + 9999], ("b",)),
        ([NOW - 1, None], "ab", [-1, -1], ("a",)),
        ([NOW + 9999, None], "abc", [NOW + 9999, -1], ("c",)),
    ],
)
def test_what_is_drift(moments: list[int], there: str, expires: list[int], wanted: tuple[str, ...]) -> None:
    """A field that has expired is none; one that lives on is."""
    reply = [part for name in there for part in (name.encode(), name.encode())]
    found = flaw(put(*moments), (reply, expires, NOW), NO_TTL, NOW)
    assert found == (("content", wanted) if wanted else None)


def test_a_hash_that_is_gone() -> None:
    """With its last field, where all have expired; else it is missing."""
    assert flaw(put(NOW - 1, NOW - 5), None, NO_KEY, NOW) is None
    assert flaw(put(NOW - 1, NOW + 9999), None, NO_KEY, NOW) == ("missing", ())
    assert flaw(put(NOW - 1, None), None, NO_KEY, NOW) == ("missing", ())
