"""What teams are said to read is there."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.unit.contract.contracts import CARD, contract, load, told

WHOLE = CARD.replace("{title: title}", "all")
BOARD = '  - {projection: board, type: zset, key: "board:{a}", member: "{_id}", score: a}\n'
FINE = {
    "a field": (CARD, "{team: web, reads: {card: [title]}}"),
    "all of a key": (CARD, "{team: web, reads: {card: all}}"),
    "a field of a whole document": (WHOLE, "{team: web, reads: {card: [anything]}}"),
    "a key without fields": (CARD + BOARD, "{team: web, reads: {board: all}}"),
    "two teams": (CARD, "{team: web, reads: {card: all}}, {team: shop, reads: {card: all}}"),
}
WRONG = {
    "no such field": ("{team: web, reads: {card: [titel]}}",
                      "13:40: web reads `titel` of projection card, which does not have it; did you mean `title`? "
                      "or ask web, and remove it here"),
    "no such projection": ("{team: web, reads: {cart: [title]}}",
                           "13:33: web reads projection `cart`, which the contract does not have; did you mean `card`? "
                           "or ask web, and remove this line"),
    "a team twice": ("{team: web, reads: {card: all}}, {team: web, reads: {card: [title]}}", "the team `web` again"),
    "nothing": ("{team: web, reads: {}}", "`reads` is empty"),
    "no fields": ("{team: web, reads: {card: []}}", "not what a team can read; name the fields"),
    "a word": ("{team: web, reads: {card: title}}", "not what a team can read: `title`; name the fields"),
    "no team": ("{reads: {card: all}}", "missing key `team`"),
}  # fmt: skip


def text(redis: str, consumers: str) -> str:
    return f"{contract(redis)}consumers: [{consumers}]\n"


@pytest.mark.parametrize("name", FINE)
def test_it_is_there(name: str, tmp_path: Path) -> None:
    """Where the documents say what a key holds, nothing is known to be missing."""
    assert load(tmp_path, text(*FINE[name]))


@pytest.mark.parametrize("name", WRONG)
def test_it_is_not_there(name: str, tmp_path: Path) -> None:
    """Once, and with a remedy."""
    consumers, expected = WRONG[name]
    (found,) = told(tmp_path, text(CARD, consumers))
    assert expected in found
