"""Redis has one space of names for the functions of all libraries."""

from __future__ import annotations

import re

from syncd.stores.redis.functions import library_source
from syncd.to_mongo.outbox.functions import source

_NAME = re.compile(r"register_function(?:\(|\{\s*function_name = )\s*'(\w+)'")
_COMMANDS = re.compile(r"^local COMMANDS = \{(.+?)\}", re.DOTALL | re.MULTILINE)


def test_no_two_functions_have_one_name() -> None:
    """Those of daemons, and those of the outbox that applications call: otherwise only one library can be loaded."""
    ours, theirs = (_NAME.findall(text) for text in (library_source(), source()))
    listed = _COMMANDS.search(source())
    assert listed
    theirs += [f"syncd_{name.lower().replace('.', '_')}" for name in re.findall(r"'([\w.]+)'", listed[1])]
    assert {"syncd_apply", "syncd_lease"} <= {*ours}
    assert {"syncd_hset", "syncd_expire", "syncd_json_set"} <= {*theirs}
    assert len({*ours, *theirs}) == len(ours) + len(theirs)
