"""Contract files as bytes: regular files up to a size. A pipe or device of such a name does not block the reader."""

from __future__ import annotations

import os
import pwd
import stat
from pathlib import Path

from syncd.contract.model.contract import FileStamp
from syncd.errors import Problem

MOST_FILES = 2_000
LARGEST = 256 * 1024
"""Bytes of a file: some hundred times what a contract has. Checks take time in proportion."""


def read_file(path: Path) -> bytes | Problem:
    """What a file holds, or why it is not read."""
    try:
        content = _content(path)
    except OSError as error:
        what = f"cannot be read ({error.strerror})"
        return Problem(str(path), 1, 1, what, "check its permissions, and where it links to")
    if content is None:
        what = "not a regular file, but a pipe, a socket or a device"
        return Problem(str(path), 1, 1, what, "put a file here, and check where it links to")
    if len(content) > LARGEST:
        what = f"larger than {LARGEST // 1024} kB"
        return Problem(str(path), 1, 1, what, "is it a contract? split it, one contract a file")
    return content


def stamp_of(path: Path) -> FileStamp | None:
    """Who wrote a file, and when; None where there is none."""
    try:
        found = path.stat()
    except OSError:
        return None
    try:
        owner = pwd.getpwuid(found.st_uid).pw_name
    except KeyError:  # a user of another machine
        owner = str(found.st_uid)
    return FileStamp(owner, found.st_mtime)


def _content(path: Path) -> bytes | None:
    """At most one byte more than a contract may have; None where this is no file. Raises OSError."""
    # A pipe without a writer would not even open.
    handle = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY)
    with os.fdopen(handle, "rb") as file:
        # Links into /proc lead to regular files without a size; some of these have nothing to read yet.
        return file.read(LARGEST + 1) if stat.S_ISREG(os.fstat(handle).st_mode) else None
