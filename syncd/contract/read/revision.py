"""Contract files as a git revision has them. Runs git, which has to be there; nothing is checked out."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

from syncd.contract.read.files import LARGEST, MOST_FILES
from syncd.contract.read.load import is_contract_file
from syncd.errors import Problem, SettingsError

_LONGEST_S = 60.0


def files_of_revision(revision: str, beside: Path) -> list[tuple[str, bytes | Problem]]:
    """The contract files of `REV:PATH`, or of `REV` at the place that `beside` has now. Raises SettingsError."""
    if revision.startswith("-"):
        raise SettingsError(f"{revision} is no file, directory or git revision; name one, such as HEAD~1")
    if ":" in revision:
        where, tree = Path(), revision
    elif beside.is_dir() or not beside.exists():
        where, tree = (beside if beside.is_dir() else Path()), f"{revision}:./"
    else:
        where, tree = beside.parent, f"{revision}:./{beside.name}"
    shown = revision if ":" in revision else f"{revision}:{beside}"
    if _git(where, revision, "cat-file", "-t", tree).strip() == b"blob":
        return [(shown, _content(where, revision, tree, shown))]
    names = list(_names(_git(where, revision, "ls-tree", "-z", "--full-tree", tree)))
    if not names:
        raise SettingsError(f"{shown} has no *.yaml or *.yml file; name another directory or revision")
    if len(names) > MOST_FILES:
        raise SettingsError(
            f"{shown} has {len(names)} files, and a set of contracts has at most {MOST_FILES}"
        )
    within = shown.rstrip("/") + "/"
    return [(within + name, _content(where, revision, blob, within + name)) for name, blob in names]


def _names(listing: bytes) -> Iterator[tuple[str, str]]:
    """Name and object of each contract file. What is no plain file is passed over, as links are."""
    for entry in listing.split(b"\0"):
        head, _, name = entry.partition(b"\t")
        mode, _, rest = head.partition(b" ")
        if mode.startswith(b"100") and is_contract_file(name.decode(errors="replace")):
            yield name.decode(errors="replace"), rest.split(b" ")[1].decode()


def _content(where: Path, revision: str, blob: str, shown: str) -> bytes | Problem:
    content = _git(where, revision, "cat-file", "blob", blob)
    if len(content) <= LARGEST:
        return content
    return Problem(
        shown, 1, 1, f"larger than {LARGEST // 1024} kB", "is it a contract? split it, one contract a file"
    )


def _git(where: Path, revision: str, *arguments: str) -> bytes:
    try:
        ran = subprocess.run(  # noqa: S603 - no shell, and a revision is no option
            ["git", "-C", str(where), *arguments],  # noqa: S607 - the git of the user
            capture_output=True, timeout=_LONGEST_S, check=False,
        )  # fmt: skip
    except FileNotFoundError:
        raise SettingsError(
            f"{revision} is no file or directory, and there is no git to ask; install git"
        ) from None
    except subprocess.TimeoutExpired:
        raise SettingsError(f"git took more than {_LONGEST_S:.0f} s for {revision}; try again") from None
    if ran.returncode:
        said = ran.stderr.decode(errors="replace").strip().splitlines()
        why = said[0].removeprefix("fatal: ") if said else f"git ended with {ran.returncode}"
        raise SettingsError(
            f"{revision} is no file or directory, and git has no such revision ({why}); check its name"
        )
    return ran.stdout
