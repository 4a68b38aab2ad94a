"""Two versions of one contract: what differs, key by key. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from pydantic import BaseModel
from pydantic_core import PydanticUndefined

from syncd.contract.diff.change import Change
from syncd.contract.diff.rules import ENTRIES, RULES, Edit, Rule
from syncd.contract.diff.verdict import Verdict
from syncd.contract.read.loaded import LoadedContract
from syncd.contract.read.source import Path
from syncd.text import clipped

LONGEST = 60
"""Characters of a value that are shown."""
_NOUNS = {
    "redis": "projection", "redis.*.fields": "field", "redis.*.index.fields": "index field",
    "redis.*.attributes": "attribute", "redis.*.labels": "label", "consumers": "consumer",
    "mongo.with": "join",
}  # fmt: skip
"""What is found by its name, and what one such is called."""
_NAMES = {"redis": "projection", "redis.*.index.fields": "name", "consumers": "team"}
"""Of those in a list: what has the name."""


@dataclass(frozen=True, slots=True)
class _At:
    """A place in both versions."""

    rule: str = ""
    """As in RULES."""
    key: str = ""
    old: Path = ()
    new: Path = ()
    about: str = ""
    """What stands before the message."""
    within: str = ""
    """The part of `key` that `about` says already."""
    projection: str | None = None
    name: str | None = None

    def step(self, name: str) -> _At:
        """To a key of a mapping."""
        return replace(
            self,
            rule=_joined(self.rule, name),
            key=_joined(self.key, name),
            old=(*self.old, name),
            new=(*self.new, name),
        )

    def entry(self, name: str, old: str | int, new: str | int) -> _At:
        """To what is found by its name."""
        noun, key = _NOUNS[self.rule], _joined(self.key, name)
        there = replace(
            self, rule=f"{self.rule}.*", key=key, within=f"{key}.", old=(*self.old, old), new=(*self.new, new)
        )
        if self.rule == "redis":
            return replace(there, about=f"{name}: ", projection=name)
        about = f"{self.about.removesuffix(': ')}, " if self.about else ""
        return replace(there, about=f"{about}{noun} `{name}`: ", name=name)


def _joined(before: str, name: str) -> str:
    return f"{before}.{name}" if before else name


def compare(old: LoadedContract, new: LoadedContract) -> list[Change]:
    """What differs, what breaks readers first."""
    found = _Comparison(old, new).of_models(old.contract, new.contract, _At())
    return sorted(found, key=lambda change: -change.verdict)


def compare_projections(old: LoadedContract, new: LoadedContract, before: int, after: int) -> list[Change]:
    """What differs for those who read the keys of a projection that passes from one contract to another."""
    found, shape = _Comparison(old, new), new.contract.redis[after]
    name = found.shown(shape.projection)
    at = _At("redis", "redis", ("redis",), ("redis",)).entry(name, before, after)
    of_all = _At(about=f"{name}: ", projection=name)
    changes = list(found.of_models(old.contract.redis[before], shape, at))
    for part in ("mongo", "sync"):
        changes += found.of_models(
            getattr(old.contract, part), getattr(new.contract, part), of_all.step(part)
        )
    return changes


class _Comparison:
    def __init__(self, old: LoadedContract, new: LoadedContract) -> None:
        self._old, self._new = old, new

    def of_models(self, old: BaseModel, new: BaseModel, at: _At) -> Iterator[Change]:
        """Key by key. Of two kinds of one thing only the keys that both have."""
        for name, field in type(old).model_fields.items():
            if not field.exclude and name in type(new).model_fields:
                edit = Edit(getattr(old, name), getattr(new, name), old, new)
                yield from self._of_key(edit, at.step(field.alias or name))

    def _of_key(self, edit: Edit, at: _At) -> Iterator[Change]:
        old, new = edit.old, edit.new
        if at.rule == "redis.*.fields" and (_whole(edit) or old is None or new is None):
            if _whole(edit) or old != new:
                yield from self._judged(RULES[at.rule], edit, at)
        elif old == new:
            return
        elif at.rule in _NAMES:
            yield from self._of_lists(old, new, at)
        elif at.rule in _NOUNS:
            yield from self._of_mappings(old or {}, new or {}, at)
        elif isinstance(old, BaseModel) and isinstance(new, BaseModel):
            # Of an index field of another type the attributes are others, too.
            if type(old) is type(new):
                yield from self.of_models(old, new, at)
        else:
            yield from self._judged(RULES[at.rule], edit, at)

    def _of_mappings(self, old: Mapping[str, Any], new: Mapping[str, Any], at: _At) -> Iterator[Change]:
        gained = [name for name in new if name not in old]
        for name, spec in old.items():
            if name in new:
                continue
            there = at.entry(self.shown(name), name, name)
            twin = next((one for one in gained if new[one] == spec), None)
            if twin is None:
                yield from self._gone(there, at, spec)
            else:
                gained.remove(twin)
                what = f"{_noun(there, at)} is called `{self.shown(twin)}` now"
                yield self._change(
                    Verdict.MAJOR,
                    "readers do not find it any more",
                    what,
                    replace(there, new=(*at.new, twin)),
                )
        for name in gained:
            yield from self._come(at.entry(self.shown(name), name, name), at, new[name])
        for name in (name for name in old if name in new and old[name] != new[name]):
            there = at.entry(self.shown(name), name, name)
            if isinstance(old[name], BaseModel):
                yield from self.of_models(old[name], new[name], there)
            else:
                yield from self._judged(ENTRIES, Edit(old[name], new[name]), there, subject=_noun(there, at))

    def _of_lists(self, old: tuple[Any, ...], new: tuple[Any, ...], at: _At) -> Iterator[Change]:
        attribute = _NAMES[at.rule]
        before = {getattr(one, attribute): nth for nth, one in enumerate(old)}
        after = {getattr(one, attribute): nth for nth, one in enumerate(new)}
        twins = self._renamed(old, new, before, after) if at.rule == "redis" else {}
        for name in (name for name in before if name not in after and name not in twins):
            there = at.entry(self.shown(name), before[name], before[name])
            yield from self._gone(there, at, old[before[name]])
        for name in (name for name in after if name not in before and name not in twins.values()):
            yield from self._come(at.entry(self.shown(name), after[name], after[name]), at, new[after[name]])
        for name, nth in before.items():
            if (now := twins.get(name, name)) in after:
                there = at.entry(self.shown(now), nth, after[now])
                yield from self.of_models(old[nth], new[after[now]], there)

    @staticmethod
    def _renamed(
        old: tuple[Any, ...], new: tuple[Any, ...], before: dict[str, int], after: dict[str, int]
    ) -> dict[str, str]:
        """Projections of the same keys under another name."""
        gained = {(new[nth].key, new[nth].type): name for name, nth in after.items() if name not in before}
        lost = {name: (old[nth].key, old[nth].type) for name, nth in before.items() if name not in after}
        return {name: gained[keys] for name, keys in lost.items() if keys in gained}

    def _gone(self, there: _At, at: _At, value: Any) -> Iterator[Change]:
        rule = ENTRIES if at.rule == "redis.*.fields" else RULES[at.rule]
        if (judged := rule(Edit(value, None))) is not None:
            yield self._change(*judged, f"{_noun(there, at)} is gone", there, in_old=True)

    def _come(self, there: _At, at: _At, value: Any) -> Iterator[Change]:
        rule = ENTRIES if at.rule == "redis.*.fields" else RULES[at.rule]
        if (judged := rule(Edit(None, value))) is not None:
            yield self._change(*judged, f"{_noun(there, at)} is new", there)

    def _judged(self, rule: Rule, edit: Edit, at: _At, subject: str = "") -> Iterator[Change]:
        if (judged := rule(edit)) is None:
            return
        before, after = (
            self._value(loaded, path, value, holder)
            for loaded, path, value, holder in (
                (self._old, at.old, edit.old, edit.old_in), (self._new, at.new, edit.new, edit.new_in)
            )
        )  # fmt: skip
        subject = subject or f"{at.about}`{at.key.removeprefix(at.within)}`"
        if before is None:
            yield self._change(*judged, f"{subject} is new: {after}", at)
        elif after is None:
            yield self._change(*judged, f"{subject} is gone, and was {before}", at, in_old=True)
        else:
            yield self._change(*judged, f"{subject} was {before} and is {after}", at)

    def _value(self, loaded: LoadedContract, path: Path, value: Any, holder: Any) -> str | None:
        """As the file has it, without what comes from the environment; a default where it says nothing."""
        if (text := loaded.source.text_of(*path)) is not None:
            return f"`{clipped(text, LONGEST)}`"
        if value is None or value in ((), {}):
            return None
        field = next((f for n, f in type(holder).model_fields.items() if path[-1] in (n, f.alias)), None)
        default = field.default if field is not None else PydanticUndefined
        shown = value if default is PydanticUndefined or default is None else default
        return f"`{str(shown).lower() if isinstance(shown, bool) else shown}`"

    def shown(self, name: str) -> str:
        """A name of an author's choosing, but for one from the environment."""
        return name if name in self._new.source.text or name in self._old.source.text else "…"

    def _change(self, verdict: Verdict, why: str, what: str, at: _At, *, in_old: bool = False) -> Change:
        loaded, path = (self._old, at.old) if in_old else (self._new, at.new)
        place = loaded.source.locate_key(*path)
        return Change(verdict, at.key, what, why, loaded.file, *place, at.projection, at.name)


def _whole(edit: Edit) -> bool:
    """Whether `fields: all` came or went."""
    return bool(edit.old_in.whole != edit.new_in.whole)


def _noun(there: _At, at: _At) -> str:
    """`card: field `year``, or `projection `card``."""
    before = "" if at.rule == "redis" else at.about
    return f"{before}{_NOUNS[at.rule]} `{there.key.removeprefix(f'{at.key}.')}`"
