"""`syncd diff` as somebody who reviews an edit uses it."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

from tests.support.cli import syncd
from tests.unit.contract.contracts import contract

BEFORE = """\
  - projection: card
    type: hash
    key: "movie:{_id}"
    fields: {title: title, year: released}
consumers: [{team: web, reads: {card: [title, year]}}]
"""
AFTER = BEFORE.replace("year: released", "rating: rating")


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """With contracts in `contracts/`, committed."""
    (tmp_path / "contracts").mkdir()
    (tmp_path / "contracts" / "movies.yaml").write_text(contract(BEFORE))
    (tmp_path / "contracts" / "notes.txt").write_text("no contract")
    for words in (["init", "-q", "-b", "main"], ["add", "."], ["commit", "-q", "-m", "contracts"]):
        who = ["-c", "user.name=t", "-c", "user.email=t@example.org", "-c", "commit.gpgsign=false"]
        subprocess.run(["git", *who, *words], cwd=tmp_path, check=True, capture_output=True, timeout=60)
    return tmp_path


def edit(repository: Path, text: str) -> None:
    (repository / "contracts" / "movies.yaml").write_text(text)


def test_an_edit_is_compared_with_a_revision(repository: Path) -> None:
    """Without a second argument the directory of contracts is compared with what it was."""
    edit(repository, contract(AFTER.replace("[title, year]", "[title]")))
    ran = syncd("diff", "HEAD", cwd=repository)
    assert ran.stdout == (
        "movies 1.2.0: major; the version has to be 2.0.0 at least\n"
        "  major  HEAD:contracts/movies.yaml:12:28: card: field `year` is gone: readers do not find it any more\n"
        "  minor  contracts/movies.yaml:12:28: card: field `rating` is new: readers may use it\n"
        "  patch  contracts/movies.yaml:13:25: consumer `web`: `reads` was `{card: [title, year]}` and is "
        "`{card: [title]}`: nothing changes for readers\n"
        "major: 1 of 1 contract changed\n"
    )
    assert ran.returncode == 1, ran.stderr
    edit(repository, contract(AFTER.replace("[title, year]", "[title]")).replace("1.2.0", "2.0.0"))
    assert syncd("diff", "HEAD", cwd=repository).returncode == 0


def test_a_contract_without_what_a_team_reads_is_refused(repository: Path) -> None:
    """By every verb that reads contracts, with the place."""
    edit(repository, contract(AFTER))
    said = "contracts/movies.yaml:13:47: web reads `year` of projection card, which does not have it"
    for ran in (syncd("diff", "HEAD", cwd=repository), syncd("check", cwd=repository)):
        assert said in ran.stdout + ran.stderr
        assert ran.returncode == 1


def test_a_change_that_breaks_a_team_names_it(repository: Path) -> None:
    """In the text, and for programs."""
    edit(repository, contract(BEFORE.replace("released", "{from: released, type: int}")))
    ran = syncd("diff", "main:contracts", "contracts", "-o", "json", cwd=repository)
    found = json.loads(ran.stdout)
    assert (found["verdict"], found["announced"], ran.returncode) == ("major", False, 1)
    (film,) = found["contracts"]
    assert (film["wanted_version"], film["breaks"]) == ("2.0.0", ["web"])
    (change,) = film["changes"]
    assert (change["key"], change["line"]) == ("redis.card.fields.year.type", 12)
    assert "breaks web" in syncd("diff", "HEAD:./contracts/movies.yaml", cwd=repository).stdout


def test_the_same_contracts_do_not_differ(repository: Path) -> None:
    """Comments and the order of keys are no difference."""
    edit(repository, "# a comment\n" + contract(BEFORE))
    ran = syncd("diff", "HEAD", "contracts/movies.yaml", cwd=repository)
    assert (ran.stdout, ran.returncode) == ("1 contract, and no difference\n", 0)


@pytest.mark.parametrize("old", ["HEAD~7", "no-such-thing", "main:nowhere", "--output=x"])
def test_what_is_neither_a_path_nor_a_revision_is_said(repository: Path, old: str) -> None:
    """As wrong usage."""
    ran = syncd("diff", "--", old, cwd=repository)
    assert ran.returncode == 2
    assert old.partition(":")[0] in ran.stderr
