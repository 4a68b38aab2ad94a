"""Sets of contracts: what is new, gone or renamed, whom that breaks, and whether versions say so."""

from __future__ import annotations

from typing import Any

import pytest

from syncd.contract.diff.sets import ContractDiff, diff_sets
from syncd.contract.diff.verdict import Verdict, next_version, says
from tests.support.contracts import said
from tests.unit.contract.diff.test_rules import loaded

MAJOR, MINOR, PATCH, SAME = Verdict.MAJOR, Verdict.MINOR, Verdict.PATCH, Verdict.SAME
WEB = {"team": "web", "reads": {"card": ["title"]}}
SHOP = {"team": "shop", "reads": {"card": ["year"]}}


def card(fields: Any = ("title", "year"), **more: Any) -> dict[str, Any]:
    return {"projection": "card", "type": "hash", "key": "film:{_id}", "fields": [*fields]} | more


def film(*projections: dict[str, Any], version: str = "1.2.3", **more: Any) -> dict[str, Any]:
    metadata = {"name": more.pop("name", "films"), "version": version, "owner": "us"}
    return said(*(projections or (card(),)), metadata=metadata, **more)


def one(old: dict[str, Any] | None, new: dict[str, Any] | None) -> ContractDiff:
    (found,) = diff_sets(*([] if value is None else [loaded(value)] for value in (old, new)))
    return found


SAYS = {
    ("1.2.3", "1.2.3"): SAME, ("1.2.3", "1.2.4"): PATCH, ("1.2.3", "1.3.0"): MINOR, ("1.2.3", "2.0.0"): MAJOR,
    ("1.2.3", "1.2.2"): SAME, ("2.0.0", "1.9.0"): SAME, ("0.2.3", "0.2.4"): MINOR, ("0.2.3", "0.3.0"): MAJOR,
    ("0.2.3", "1.0.0"): MAJOR, ("1.2.3", "2.0.0-rc.1"): MAJOR, ("2.0.0-rc.1", "2.0.0-rc.2"): MAJOR,
    ("2.0.0-rc.1", "2.0.0"): MAJOR, ("2.0.0", "2.0.0+build"): SAME,
}  # fmt: skip


@pytest.mark.parametrize(("old", "new"), SAYS)
def test_a_version_says_what_kind_of_change_it_is(old: str, new: str) -> None:
    """By semantic versioning; one that goes back says nothing."""
    assert says(old, new) is SAYS[old, new]


@pytest.mark.parametrize("old", ["1.2.3", "0.2.3", "2.0.0-rc.1"])
@pytest.mark.parametrize("verdict", [PATCH, MINOR, MAJOR])
def test_the_next_version_says_enough(old: str, verdict: Verdict) -> None:
    """What is asked for is accepted."""
    assert says(old, next_version(old, verdict)) >= verdict


def test_a_version_that_says_less_is_named() -> None:
    """With the one that would do."""
    found = one(film(), film(card(["title"]), version="1.3.0"))
    assert (found.verdict, found.wanted, found.is_announced) == (MAJOR, "2.0.0", False)
    assert one(film(), film(card(["title"]), version="2.0.0")).is_announced
    assert one(film(), film(card(["title", "year", "rating"]), version="1.3.0")).is_announced
    assert one(film(), film(version="1.2.4")).is_announced
    assert one(film(), film()).is_announced


def test_a_contract_that_comes_or_goes_is_said() -> None:
    """One that teams read cannot go unseen."""
    assert (one(None, film()).verdict, one(None, film()).is_announced) == (MINOR, True)
    assert (one(film(), None).verdict, one(film(), None).is_announced) == (MAJOR, True)
    read = one(film(consumers=[WEB]), None)
    assert (read.breaks, read.is_announced) == (("web",), False)


def test_a_contract_or_projection_with_another_name_is_the_same_one() -> None:
    """The keys are what readers know."""
    found = one(film(), film(card(projection="tile"), name="movies"))
    assert [(change.key, change.verdict) for change in found.changes] == [
        ("metadata.name", PATCH),
        ("redis.tile.projection", PATCH),
    ]


def test_a_change_names_whom_it_breaks() -> None:
    """Teams that read the field, or anything of the contract where all of it is about to change."""
    of_all = {"team": "mail", "reads": {"card": "all"}}
    found = one(film(consumers=[WEB, SHOP, of_all]), film(card(["title"]), consumers=[WEB, SHOP, of_all]))
    assert found.breaks == ("mail", "shop")
    other_key = one(film(consumers=[WEB, SHOP]), film(card(key="movie:{_id}"), consumers=[WEB, SHOP]))
    assert other_key.breaks == ("shop", "web")
    assert one(film(consumers=[WEB]), film(card(["title", "year", "a"]), consumers=[WEB])).breaks == ()


def test_a_team_that_says_that_it_reads_something_else_is_not_broken() -> None:
    """What the new version says of a team counts; a team that is not mentioned any more reads what it did."""
    agreed = {"team": "shop", "reads": {"card": ["title"]}}
    assert one(film(consumers=[SHOP]), film(card(["title"]), consumers=[agreed])).breaks == ()
    assert one(film(consumers=[SHOP]), film(card(["title"]))).breaks == ("shop",)


def test_a_change_of_one_projection_breaks_no_reader_of_another() -> None:
    """Each key is read on its own."""
    page = {"projection": "page", "type": "json", "key": "page:{_id}", "fields": ["a"]}
    of_page = {"team": "mail", "reads": {"page": "all"}}
    found = one(film(card(), page, consumers=[of_page]), film(card(["title"]), page, consumers=[of_page]))
    assert (found.verdict, found.breaks) == (MAJOR, ())


PAGE = {"projection": "page", "type": "json", "key": "page:{_id}", "fields": ["a"]}


def both(
    old: list[dict[str, Any]], new: list[dict[str, Any]]
) -> dict[str, tuple[Verdict, tuple[str, ...], str]]:
    """What is said of each contract, by its name."""
    found = diff_sets([loaded(value) for value in old], [loaded(value) for value in new])
    return {one.name: (one.verdict, one.breaks, "; ".join(map(str, one.changes))) for one in found}


def test_a_projection_that_passes_to_another_contract_takes_nothing_from_its_readers() -> None:
    """The giver and the taker say so; what differs there for readers is said of the taker, with whom it breaks."""
    mail = {"team": "mail", "reads": {"page": ["a"]}}
    tiles = card(key="tile:{_id}")
    old = [film(card(), PAGE, consumers=[mail]), film(tiles, name="tiles")]
    said = both(old, [film(card()), film(tiles, PAGE, name="tiles", consumers=[mail])])
    assert said["films"][:2] == said["tiles"][:2] == (PATCH, ())
    assert "projection `page` is in contract tiles now: its keys stay" in said["films"][2]
    assert "projection `page` was in contract films: its keys are there already" in said["tiles"][2]
    less = {**PAGE, "fields": ["b"]}
    said = both(old, [film(card()), film(tiles, less, name="tiles")])
    assert said["films"][0] is PATCH
    assert said["tiles"][:2] == (MAJOR, ("mail",))
    assert "page: field `a` is gone" in said["tiles"][2]
    said = both(old, [film(card()), film(tiles, PAGE, name="tiles", mongo={"collection": "other.films"})])
    assert "page: `mongo.collection`" in said["tiles"][2]


def test_a_contract_whose_keys_another_one_has_is_not_said_to_leave_them() -> None:
    """Whether all pass, or some."""
    tiles = card(key="tile:{_id}")
    old = [film(card(), PAGE), film(tiles, name="tiles")]
    said = both(old, [film(tiles, card(projection="film"), PAGE, name="tiles")])
    assert said["films"][0] is PATCH
    assert "the contract is gone: its keys stay, and contract tiles writes them" in said["films"][2]
    said = both(old, [film(tiles, PAGE, name="tiles")])
    assert said["films"][0] is MAJOR
    assert (
        "`page:{_id}` stay, and contract tiles writes them from then on; nothing changes its other"
        in said["films"][2]
    )
    said = both([film(card(), PAGE)], [film(card()), film(PAGE, name="pages")])
    assert "the contract is new: its keys are there already, from contract films" in said["pages"][2]
