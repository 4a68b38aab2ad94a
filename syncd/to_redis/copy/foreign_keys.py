"""Keys that an application had under the templates of a contract before there was a contract: they stay its own.

They are noted before a first copy writes anything. What removes keys leaves those out (see `lua/apply.lua`); a document
that comes by with the same key takes it over.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator

from syncd import telemetry
from syncd.contract.model.redis.template import KeyTemplate
from syncd.plan.claims import KEY
from syncd.plan.keys.templates import parse_key
from syncd.plan.stream_plan import StreamPlan
from syncd.plan.to_redis.change import Retired
from syncd.stores.redis.records.claims import new_claims, templates_going, templates_of_fields
from syncd.stores.redis.records.keys.foreign_keys import count_foreign, foreign_among, has_lost_foreign
from syncd.stores.redis.records.lease import Lease
from syncd.stores.redis.records.position import ControlKeys
from syncd.stores.redis.scan import KeyScan
from syncd.stores.redis.store import RedisStore, translated
from syncd.to_redis.copy.beginning import is_feed


class ForeignKeys:
    """Of one contract."""

    def __init__(self, plan: StreamPlan, store: RedisStore, control: ControlKeys, lease: Lease) -> None:
        self._plan, self._store, self._control, self._lease = plan, store, control, lease

    def note(self, owned: list[list[str]], stop: threading.Event) -> None:
        """Note the keys that are there under each template that no contract had before. `owned`: what this contract
        wrote under other templates. Of hashes that contracts share fields are noted likewise, by their key."""
        for node, lease in zip(self._lease.nodes, self._lease.parts, strict=True):
            if not stop.is_set():
                self._note(node, lease, owned, stop)

    def _note(self, node: RedisStore, lease: Lease, owned: list[list[str]], stop: threading.Event) -> None:
        before = [KeyTemplate.recorded(template) for _, template, kind in owned if not is_feed(kind)]
        new = self._new(node)
        if any(shape.template.fields for shape, _ in new):
            before += templates_of_fields(node)
        going = templates_going(node, self._plan.name) if new else []
        for shape, template in new:
            count, word = 0, "ok"
            for page in self._unowned(node, shape, [one for one in before if one.text != template]):
                keys = self._without_going(going, page)
                self._lease.hold()
                if stop.is_set():
                    return
                count += len(keys)
                word = lease.note_foreign(template, "more", keys) if keys else "ok"
                if word != "ok":  # another partition was quicker, and writes by now
                    break
            if word == "ok" and lease.note_foreign(template, "done") == "ok" and count:
                telemetry.keys_of_others(self._plan.name, shape.name, count)

    @property
    def are_lost(self) -> bool:
        """Whether a key without a document may be an application's, because the record of those was lost. Both
        ways such a key is merged, not removed."""
        return not self._plan.contract.is_two_way and has_lost_foreign(self._store, self._plan.name)

    def adopt(self) -> bool:
        """Take them all. Returns whether there may be any."""
        new = any(self._new(node) for node in self._store.nodes)
        any_noted = self.are_lost or count_foreign(self._store, self._plan.name) > 0
        for shape in self._plan.shapes if new or any_noted else ():
            for lease in self._lease.parts:
                lease.note_foreign(shape.template.text, "adopt")
        return new or any_noted

    def _new(self, node: RedisStore) -> list[tuple[Retired, str]]:
        texts = {
            shape.template.text: Retired(shape.name, shape.type, shape.template)
            for shape in self._plan.shapes
        }
        new = new_claims(node, [KEY + text for text in texts])
        return [(texts[name.removeprefix(KEY)], name.removeprefix(KEY)) for name in new]

    def _unowned(self, node: RedisStore, shape: Retired, before: list[KeyTemplate]) -> Iterator[list[bytes]]:
        of_fields = [template for template in before if template.fields] if shape.template.fields else []
        whole = [template for template in before if not template.fields] if shape.template.fields else before
        for page in KeyScan(node, self._control).keys(shape):
            keys = [
                key for key in page
                if parse_key(shape.template, key) is not None
                and not any(parse_key(template, key) is not None for template in whole)
            ]  # fmt: skip
            yield _with_fields(node, shape, keys, of_fields) if shape.template.fields else keys

    def _without_going(self, going: list[tuple[str, KeyTemplate]], keys: list[bytes]) -> list[bytes]:
        """Without what a third contract wrote and another one is about to remove; what it spares stays here, too."""
        for contract, template in going:
            theirs = [key for key in keys if parse_key(template, key) is not None]
            control = ControlKeys(contract, place=self._control.place)
            spared = foreign_among(self._store, control, [key.decode() for key in theirs])
            gone = {key for key in theirs if key.decode() not in spared}
            keys = [key for key in keys if key not in gone]
        return keys

    def among(self, keys: list[str]) -> set[str]:
        """Which of these keys are an application's."""
        return foreign_among(self._store, self._control, keys)


def _with_fields(
    node: RedisStore, shape: Retired, keys: list[bytes], before: list[KeyTemplate]
) -> list[bytes]:
    """Without hashes that have none of the fields, but for those that a contract had before: what others have there
    is no matter of this one."""
    asked: list[tuple[bytes, list[str]]] = []
    for key in keys:
        owned = {name for one in before if parse_key(one, key) is not None for name in one.fields}
        if new := [name for name in shape.template.fields if name not in owned]:
            asked.append((key, new))
    with translated(), node.client.pipeline(transaction=False) as pipe:
        for key, names in asked:
            pipe.hmget(key, names)
        found = pipe.execute(raise_on_error=False)
    return [
        key for (key, _), said in zip(asked, found, strict=True)
        if isinstance(said, Exception) or any(one is not None for one in said)
    ]  # fmt: skip
