"""The words that docs/glossary.md bans stand nowhere in the project, be it in text, in a message or in a name."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
GLOSSARY = "docs/glossary.md"
READ = (
    "syncd", "docs", "examples", "contracts", "deploy", "README.md", "CONTRIBUTING.md", "SECURITY.md", "CHANGELOG.md",
    "pyproject.toml", "Makefile", "Dockerfile", ".ci",
)  # fmt: skip
TEXTS = {".py", ".md", ".lua", ".yaml", ".yml", ".json", ".html", ".toml", ".sh", ".service", ""}


_BETWEEN = r"(?:\s|#|--|//)+"
ALLOWED = {
    rf"dead(?:-|{_BETWEEN})letters?": "the words for it",
    r"on error: letter|`letter`|\"letter\"": "a value of `on_error` in contracts",
    r"(?:lower-case|upper-case|ASCII|non-ASCII) letters|letters, digits|letters and digits|letters of": "characters",
    r"no ghosts": "a promise, whose name users have in files",
    r"\"settled\"|delete, dead, settled": "the value of a label, which users have in dashboards",
    r"(?:start|end|problem|context) mark|yaml\.Mark": "PyYAML's names for a place",
    r"(?:byte order|quotation|question|high[- ]water)\s+marks?": "characters",
    r"`(?:marks?|floor|letters)`|:marks`|syncd raise floor": "names of keys, fields and functions in Redis",
    r"said\.mark|(?:floor|marks) = true|b?[\"'](?:marks?|floor|letters)[\"']": "the same, in code",
    r"math\.floor|pytest\.mark": "functions",
}
"""What is none of the banned words, or is an interface; with the reason."""


@cache
def banned() -> dict[str, re.Pattern[str]]:
    """The words in `code` of the third column of the glossary, each with the pattern that finds it."""
    found: dict[str, re.Pattern[str]] = {}
    for line in (ROOT / GLOSSARY).read_text(encoding="utf-8").splitlines():
        cells = line.strip("|").split("|")
        if line.startswith("|") and len(cells) == 3:
            found |= {phrase: _pattern(phrase) for phrase in re.findall(r"`([^`]+)`", cells[2])}
    return found


def _pattern(phrase: str) -> re.Pattern[str]:
    """The phrase, also over the end of a line and inside of names; an `s` may follow its first word."""
    first, *rest = phrase.split()
    text = _BETWEEN.join([first + "s?" * (len(first) > 2), *rest])
    return re.compile(rf"(?<![A-Za-z]){text}(?![A-Za-z]|-ups?\b)", re.IGNORECASE)


def plain(text: str) -> str:
    """The text with names taken apart, and without what is allowed; of the same number of lines."""
    text = re.sub(r"(?<=[a-z])(?=[A-Z])", " ", text.replace("_", " "))
    for allowed in ALLOWED:
        text = re.sub(rf"(?<![A-Za-z])(?:{allowed})", _only_lines, text, flags=re.IGNORECASE)
    return text


def _only_lines(hit: re.Match[str]) -> str:
    return "\n" * hit[0].count("\n")


def files() -> Iterator[Path]:
    """All texts that a person may read."""
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", *READ],
        cwd=ROOT, capture_output=True, text=True, check=True,
    )  # fmt: skip
    for name in listed.stdout.splitlines():
        if name != GLOSSARY and Path(name).suffix in TEXTS:
            yield Path(name)


def words_in(text: str) -> Iterator[tuple[int, str]]:
    """Each banned word of a text, with its line."""
    lower = text.lower()  # the search for a plain word is much faster than for a pattern
    found = [word for word in banned() if all(part.lower() in lower for part in word.split())]
    text = plain(text) if found else ""
    for word in found:
        for hit in banned()[word].finditer(text):
            yield text.count("\n", 0, hit.start()) + 1, word


def test_the_glossary_bans_words() -> None:
    """The table can be read: it names words that were replaced."""
    assert {"ghost", "mend", "anew", "in step", "parcel", "courier", "somebody"} <= banned().keys()


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ("# Keys that are ghosts", "ghost"),
        ("mended = 1", "mended"),
        ("class GhostKeys:", "ghost"),
        ("_read_anew(value)", "anew"),
        ("# what it looks\n    # at", "look at"),
        ("the letters wait", "letter"),
        ("MARK_S = 1", "mark"),
    ],
)
def test_a_banned_word_is_found(text: str, word: str) -> None:
    """Over two lines, and inside of a name."""
    assert word in [found for _, found in words_in(text)]


@pytest.mark.parametrize(
    "text",
    [
        "dead\n    # letters wait",
        "no_ghosts",
        "recommend",
        "a look-up",
        "_lookup",
        "lower-case letters",
        "remark",
    ],
)
def test_other_words_are_not_found(text: str) -> None:
    """Words that contain a banned one, and names that users have in files."""
    assert not list(words_in(text))


def test_banned_words_stand_nowhere() -> None:
    """The project says what the glossary says."""
    found = [
        f"{path}:{line}: {word}"
        for path in files()
        for line, word in sorted(words_in((ROOT / path).read_text(encoding="utf-8")))
    ]
    assert not found, "see docs/glossary.md for the words to write instead:\n" + "\n".join(found)


def test_the_project_is_read() -> None:
    """The search reads what it is meant to read."""
    assert {Path("README.md"), Path("syncd/errors.py"), Path("docs/guide.md")} <= set(files())
