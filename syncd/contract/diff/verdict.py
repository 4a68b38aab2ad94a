"""What an edit of a contract means for those who read the keys, as semantic versions say it."""

from __future__ import annotations

import re
from enum import IntEnum

_CORE = re.compile(r"(\d+)\.(\d+)\.(\d+)(-[^+]+)?")


class Verdict(IntEnum):
    """How much a version has to rise."""

    SAME = 0
    """The contract says the same."""
    PATCH = 1
    """Readers notice nothing."""
    MINOR = 2
    """Readers find more than before, and what they read already as it was."""
    MAJOR = 3
    """Something that a reader may rely on is gone, or another."""

    def __str__(self) -> str:
        return self.name.lower()


def says(old: str, new: str) -> Verdict:
    """What kind of change a new version announces. SAME where it is none, or goes back.

    Below 1.0.0 the second number announces what breaks, and the third all else. Of one version's pre-releases each may
    break.
    """
    (before, was_early), (after, is_early) = _parts(old), _parts(new)
    if after < before or (after == before and old == new):
        return Verdict.SAME
    if after == before:
        return Verdict.MAJOR if was_early else Verdict.SAME
    if after[0] > before[0] or (was_early and is_early):
        return Verdict.MAJOR
    if after[1] > before[1]:
        return Verdict.MINOR if before[0] else Verdict.MAJOR
    return Verdict.PATCH if before[0] else Verdict.MINOR


def next_version(old: str, verdict: Verdict) -> str:
    """The lowest version that announces this."""
    (major, minor, patch), _ = _parts(old)
    if verdict is Verdict.MAJOR and major:
        return f"{major + 1}.0.0"
    if verdict is Verdict.MAJOR or (verdict is Verdict.MINOR and major):
        return f"{major}.{minor + 1}.0"
    return f"{major}.{minor}.{patch + 1}"


def _parts(version: str) -> tuple[tuple[int, int, int], bool]:
    """The three numbers, and whether it is a pre-release."""
    found = _CORE.match(version)
    assert found is not None, "the model has checked it"
    return (int(found[1]), int(found[2]), int(found[3])), bool(found[4])
