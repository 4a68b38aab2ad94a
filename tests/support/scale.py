"""How much of the tests runs: with SYNCD_TEST_SCALE=2 every case, with more still larger numbers of everything."""

from __future__ import annotations

import os
import zlib
from collections import defaultdict
from collections.abc import Iterator

import pytest

SCALE = int(os.environ.get("SYNCD_TEST_SCALE", "1"))
MARK = "at_scale"


def deselect(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leaves out the tests with `at_scale`, the cases that it names, or all but a part of them. All run where tests are
    named."""
    is_named = bool(config.option.keyword) or any("::" in name for name in config.invocation_params.args)
    if is_named or config.option.lf or SCALE > 1:
        return
    left = set(_left_out(items))
    config.hook.pytest_deselected(items=list(left))
    items[:] = [item for item in items if item not in left]


def _left_out(items: list[pytest.Item]) -> Iterator[pytest.Item]:
    cases: dict[str, list[pytest.Item]] = defaultdict(list)
    for item in items:
        if item.get_closest_marker(MARK):
            cases[item.nodeid.partition("[")[0]].append(item)
    for test, found in cases.items():
        mark = found[0].get_closest_marker(MARK)
        assert mark is not None
        if of := mark.kwargs.get("all_but_one_of"):
            found.sort(key=lambda item: zlib.crc32(item.nodeid.encode()))
            yield from found[(len(found) + of - 1) // of :]
        else:
            names = {item.nodeid.partition("[")[2].removesuffix("]"): item for item in found}
            if unknown := set(mark.args) - names.keys():
                raise pytest.UsageError(f"{test} has no cases {sorted(unknown)}; it has {sorted(names)}")
            yield from (names[name] for name in mark.args or names)
