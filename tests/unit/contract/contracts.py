"""Contract files for tests: a good one with any part replaced, and what loading them says."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping
from pathlib import Path

from syncd.contract.read.load import load_contract_set
from syncd.contract.read.loaded import LoadedContract
from syncd.errors import ContractError, Problem

CARD = """\
  - projection: card
    type: hash
    key: "movie:{_id}"
    fields: {title: title}
"""
REDIS_LINE = 9
"""The line on which the projections begin."""


def contract(redis: str = CARD, *, name: str = "movies", mongo: str = "collection: catalog.movies") -> str:
    """The text of a contract file. `mongo` is one line, the members of a flow mapping."""
    head = f"""\
        apiVersion: syncd/v1
        kind: SyncContract
        metadata:
          name: {name}
          version: 1.2.0
          owner: discovery-team
        mongo: {{{mongo}}}
        redis:
        """
    return textwrap.dedent(head) + redis


def projection(fields: str, *, type: str = "hash", index: str = "", key: str = "movie:{_id}") -> str:
    """One projection on lines 9 to 12, with the entries of an index from line 15."""
    text = f'  - projection: card\n    type: {type}\n    key: "{key}"\n    fields: {fields}\n'
    if index:
        entries = "".join(f"        - {entry}\n" for entry in index.splitlines())
        text += f"    index:\n      name: films\n      fields:\n{entries}"
    return text


def problems(directory: Path, *texts: str | bytes, env: Mapping[str, str] | None = None) -> list[Problem]:
    """What is wrong with these files, called a.yaml, b.yaml, ... in a directory of their own."""
    try:
        load(directory, *texts, env=env)
    except ContractError as error:
        return error.problems
    return []


def told(directory: Path, *texts: str | bytes, env: Mapping[str, str] | None = None) -> list[str]:
    """The same as lines of text, without the directory."""
    return [str(problem).replace(f"{directory}/", "") for problem in problems(directory, *texts, env=env)]


def load(
    directory: Path, *texts: str | bytes, env: Mapping[str, str] | None = None
) -> tuple[LoadedContract, ...]:
    """Write the files and load them."""
    for letter, text in zip("abcdefgh", texts, strict=False):
        (directory / f"{letter}.yaml").write_bytes(text if isinstance(text, bytes) else text.encode())
    return load_contract_set(directory, env or {}).contracts
