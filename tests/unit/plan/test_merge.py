"""Three-way merges: nothing uncontested is lost, and both sides end alike."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from syncd.plan.both.merge import Base, Conflict, Merged, MergeRules, SideState, completed, merge, pending

FIELDS = ("a", "b", "c", "d")
NAMES = st.sampled_from(FIELDS)
STATES = st.dictionaries(NAMES, st.sampled_from(["1", "2", "3"]))
BASES = st.none() | st.dictionaries(NAMES, st.sampled_from(["", "1", "2", "3"])).map(Base)
PENDING = st.none() | st.dictionaries(NAMES, st.sampled_from(["", "1", "2", "3"]))
RULES = st.builds(
    MergeRules,
    st.just(FIELDS),
    st.sampled_from(["mongo_wins", "redis_wins", "newest", "merge_fields"]),
    st.sampled_from([frozenset(), frozenset({"a"})]),
    st.sampled_from([frozenset(), frozenset({"b"})]),
    st.booleans(),
    st.booleans(),
)
MERGE = MergeRules(FIELDS, "merge_fields")


def whole(**fields: str) -> Base:
    return Base({name: fields.get(name, "") for name in FIELDS})


def run(
    base: Base | None,
    redis: SideState,
    mongo: SideState,
    rules: MergeRules = MERGE,
    *,
    deleted: bool = False,
    newer: bool = False,
) -> Merged:
    return merge(base, redis, mongo, rules, deleted=deleted, redis_is_newer=newer)


def applied(
    merged: Merged, redis: SideState, mongo: SideState, rules: MergeRules
) -> tuple[SideState, SideState]:
    """Both sides when it is done, as the servers would show them."""
    if merged.delete == "key":
        return None, mongo
    if merged.delete == "document":
        return redis, None
    new_redis, new_mongo = dict(redis or {}), dict(mongo or {})
    for name in merged.to_redis:
        _take(new_redis, name, (mongo or {}).get(name))
    for name in merged.to_mongo:
        _take(new_mongo, name, (redis or {}).get(name))
    # A side that is not there is made, though it may have no field.
    gone = merged.agreed is None or (rules.empty_is_gone and not new_redis)
    return None if gone else new_redis, None if merged.agreed is None else new_mongo


def _take(state: dict[str, str], name: str, value: str | None) -> None:
    if value is None:
        state.pop(name, None)
    else:
        state[name] = value


@given(BASES, STATES, STATES)
def test_no_uncontested_field_is_lost(base: Base | None, redis: Any, mongo: Any) -> None:
    """no_echo, nothing_lost: under `merge_fields` a field that one side changed has that side's value on both."""
    merged = run(base, redis, mongo)
    new_redis, new_mongo = applied(merged, redis, mongo, MERGE)
    for name in FIELDS:
        r, m = redis.get(name), mongo.get(name)
        agreed = None if base is None else base.fields.get(name)
        if agreed is None and r is not None and m is not None and r != m:
            continue
        by_redis = r is not None if agreed is None else (r or "") != agreed
        by_mongo = m is not None if agreed is None else (m or "") != agreed
        if by_redis and by_mongo and r != m:
            assert any(name in conflict.fields for conflict in merged.conflicts)
            continue
        wanted = r if by_redis else m
        assert (new_redis or {}).get(name) == (new_mongo or {}).get(name) == wanted


@given(BASES, PENDING, st.none() | STATES, st.none() | STATES, RULES, st.booleans(), st.booleans())
def test_a_merge_converges(
    base: Base | None,
    pending: Any,
    redis: SideState,
    mongo: SideState,
    rules: MergeRules,
    deleted: bool,
    newer: bool,
) -> None:
    """no_echo: after one merge both sides are alike, and the next one does nothing."""
    if base is not None:
        base = Base(base.fields, pending)
    merged = run(base, redis, mongo, rules, deleted=deleted, newer=newer)
    if merged.keep:
        assert not rules.deletes
        return
    new_redis, new_mongo = applied(merged, redis, mongo, rules)
    assert (new_redis or {}) == (new_mongo or {})
    agreed = None if merged.agreed is None else Base(merged.agreed)
    again = run(agreed, new_redis, new_mongo, rules, deleted=False, newer=newer)
    assert (again.to_redis, again.to_mongo, again.delete, again.conflicts) == (
        frozenset(),
        frozenset(),
        "",
        (),
    )


@given(BASES, PENDING, STATES, STATES)
def test_what_is_remembered_before_a_write(base: Base | None, coming: Any, redis: Any, mongo: Any) -> None:
    """nothing_lost: whether the write then happens or not, the next merge takes the same fields for changed as if it
    had been remembered to its end, or never begun; also behind an earlier write whose end was not remembered."""
    base = None if base is None else Base(base.fields, coming)
    merged = run(base, redis, mongo)
    known = pending(base, mongo, merged)
    assert run(known, redis, mongo) == merged
    _, written = applied(merged, redis, mongo, MERGE)
    again = run(known, redis, written)
    contested, before = ({n for c in one.conflicts for n in c.fields} for one in (again, merged))
    assert contested <= before and not again.to_mongo


@given(BASES, STATES, RULES, st.booleans())
def test_equal_is_nothing(base: Base | None, both: Any, rules: MergeRules, newer: bool) -> None:
    """no_echo: what is equal is adopted, whatever it was."""
    merged = run(base, both, both, rules, newer=newer)
    assert (merged.to_redis, merged.to_mongo, merged.delete, merged.conflicts) == (
        frozenset(),
        frozenset(),
        "",
        (),
    )
    assert merged.agreed == whole(**both).fields


@given(st.none() | STATES, RULES)
def test_an_echo_is_no_change(state: Any, rules: MergeRules) -> None:
    """no_echo: what was pending counts as agreed where MongoDB has it: a change of Redis since is no conflict."""
    base = Base(whole(a="1").fields, None if state is None else dict(whole(**state).fields))
    merged = run(base, {"a": "9"}, state, rules)
    assert not [one for one in merged.conflicts if one.why != "authority"]


@pytest.mark.parametrize(
    ("rule", "newer", "winner", "to_redis", "to_mongo"),
    [
        ("merge_fields", True, "mongo", "bc", "a"),
        ("mongo_wins", True, "mongo", "abc", ""),
        ("redis_wins", False, "redis", "", "abc"),
        ("newest", True, "redis", "", "abc"),
        ("newest", False, "mongo", "abc", ""),
    ],
)
def test_both_changed(rule: Any, newer: bool, winner: str, to_redis: str, to_mongo: str) -> None:
    """Redis changed a and b, MongoDB b and c."""
    merged = run(whole(a="1", b="1", c="1"), {"a": "2", "b": "2", "c": "1"}, {"a": "1", "b": "3", "c": "3"},
                 MergeRules(FIELDS, rule), newer=newer)  # fmt: skip
    assert (merged.to_redis, merged.to_mongo) == (set(to_redis), set(to_mongo))
    (conflict,) = merged.conflicts
    assert (conflict.why, conflict.winner) == ("both_changed", winner)
    assert conflict.fields == (set("b") if rule == "merge_fields" else set("abc"))


def test_authority() -> None:
    """A change on the side that has none is undone, and told; one on the other side goes over."""
    rules = MergeRules(FIELDS, "redis_wins", frozenset("a"), frozenset("b"))
    base = whole(a="1", b="1", c="1")
    merged = run(base, {"a": "2", "b": "1", "c": "2"}, {"a": "1", "b": "3", "c": "1"}, rules)
    assert (merged.to_redis, merged.to_mongo) == ({"a"}, {"b", "c"})
    assert set(merged.conflicts) == {
        Conflict("authority", frozenset("a"), "mongo"),
        Conflict("authority", frozenset("b"), "redis"),
    }
    merged = run(base, {"a": "1", "b": "2", "c": "1"}, {"a": "2", "b": "1", "c": "1"}, rules)
    assert (merged.to_redis, merged.to_mongo, merged.conflicts) == ({"a"}, {"b"}, ())


def test_authority_without_a_base() -> None:
    """nothing_silent: what was there before both sides ever agreed and has no authority is undone and told, too."""
    rules = MergeRules(FIELDS, "merge_fields", frozenset("a"), frozenset("b"))
    merged = run(None, {"a": "1", "b": "1"}, {"a": "2", "b": "2"}, rules)
    assert (merged.to_redis, merged.to_mongo) == ({"a"}, {"b"})
    assert set(merged.conflicts) == {
        Conflict("authority", frozenset("a"), "mongo"),
        Conflict("authority", frozenset("b"), "redis"),
    }


def test_a_deletion_beside_a_field_that_was_never_agreed_on() -> None:
    """nothing_lost: a document does not go with its key where it has a value that Redis never had."""
    base = Base({"a": "1"})
    assert run(base, None, {"a": "1"}, MergeRules(FIELDS, "merge_fields"), deleted=True).delete == "document"
    merged = run(base, None, {"a": "1", "b": "2"}, MergeRules(FIELDS, "merge_fields"), deleted=True)
    assert (merged.delete, merged.to_redis) == ("", {"a", "b"})
    assert [conflict.why for conflict in merged.conflicts] == ["deleted_in_redis"]
    assert run(base, {"a": "1"}, None, MergeRules(FIELDS, "merge_fields")).delete == "key"


def test_what_mongodb_is_known_to_have_got_is_agreed_on() -> None:
    """nothing_lost: a change of the document behind our write is one of MongoDB's alone."""
    before = whole(a="1", b="1", c="1")._replace(pending={"a": "2"})
    rules = MergeRules(FIELDS, "redis_wins")
    merged = run(completed(before), {"a": "2", "b": "1", "c": "1"}, {"a": "3", "b": "1", "c": "1"}, rules)
    assert (merged.to_redis, merged.to_mongo, merged.conflicts) == ({"a"}, frozenset(), ())


@pytest.mark.parametrize(
    ("rule", "redis", "mongo", "deleted", "delete", "why", "winner"),
    [
        ("merge_fields", None, {"a": "1"}, True, "document", None, None),
        ("merge_fields", None, {"a": "1"}, False, "", None, None),
        ("merge_fields", {"a": "1"}, None, False, "key", None, None),
        ("merge_fields", None, {"a": "2"}, True, "", "deleted_in_redis", "mongo"),
        ("newest", None, {"a": "2"}, True, "", "deleted_in_redis", "mongo"),
        ("redis_wins", None, {"a": "2"}, True, "document", "deleted_in_redis", "redis"),
        ("merge_fields", {"a": "2"}, None, False, "", "deleted_in_mongo", "redis"),
        ("mongo_wins", {"a": "2"}, None, False, "key", "deleted_in_mongo", "mongo"),
    ],
)
def test_deletions(
    rule: Any,
    redis: SideState,
    mongo: SideState,
    deleted: bool,
    delete: str,
    why: str | None,
    winner: str | None,
) -> None:
    """They go over where the other side did not change. A key that was only lost comes back."""
    merged = run(whole(a="1"), redis, mongo, MergeRules(FIELDS, rule), deleted=deleted)
    assert merged.delete == delete
    assert [(c.why, c.winner) for c in merged.conflicts] == ([(why, winner)] if why else [])


@pytest.mark.parametrize("deleted", [False, True])
def test_a_key_that_goes_before_its_first_agreement(deleted: bool) -> None:
    """no_echo: the document that was just made of it is no change of MongoDB's: it stays, or goes with its key."""
    redis = {"a": "1"}
    known = pending(None, None, run(None, redis, None))
    then = merge(known, None, redis, MERGE, deleted=deleted, redis_is_newer=False, restore=False)
    assert (then.to_redis, then.delete, then.keep) == (
        frozenset(),
        "document" if deleted else "",
        not deleted,
    )


def test_a_lost_key() -> None:
    """It comes back with the next change of its document. A new one that lacks a field has not lost it."""
    base = whole(a="1", b="1")
    lost = merge(base, None, {"a": "1", "b": "1"}, MERGE, deleted=False, redis_is_newer=False, restore=False)
    assert (lost.keep, lost.lost, lost.to_redis) == (True, True, frozenset())
    back = merge(base, None, {"a": "2", "b": "1"}, MERGE, deleted=False, redis_is_newer=False, restore=False)
    assert back.to_redis == {"a", "b"}
    again = run(base._replace(lost=True), {"a": "3"}, {"a": "1", "b": "1"})
    assert (again.to_mongo, again.to_redis, again.conflicts) == ({"a"}, {"b"}, ())
