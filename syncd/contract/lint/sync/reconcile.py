"""Rules about comparison."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from syncd.contract.read.loaded import LoadedContract
from syncd.errors import Problem


def digests_are_of_documents(contracts: Sequence[LoadedContract]) -> Iterator[Problem]:
    """MongoDB makes the digests, so only changes in MongoDB may count."""
    for contract in contracts:
        if not contract.sound("reconcile") or not contract.sound("sync"):
            continue
        wanted = contract.contract.reconcile
        if wanted is None or wanted.check == "full" or contract.contract.sync.direction == "mongo_to_redis":
            continue
        what = "`check: digest` where changes come from Redis too"
        yield contract.problem(("reconcile", "check"), what, "write full, which reads both sides")


RULES = (digests_are_of_documents,)
