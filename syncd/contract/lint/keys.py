"""Rules about keys: every document has keys of its own, and every key has one owner."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence, Set
from dataclasses import dataclass

from syncd.contract.model.redis.projection import Projection
from syncd.contract.model.redis.redis_types import TYPE_RULES
from syncd.contract.model.redis.template import CONTROL_PREFIX, KeyTemplate, TemplateError, template_of
from syncd.contract.model.redis.template_overlap import overlaps
from syncd.contract.read.loaded import LoadedContract
from syncd.contract.read.source import Path
from syncd.errors import Problem

MOST_COMPARED = 200_000
"""Pairs of templates: some seconds. Those with prefixes of their own make none."""
MOST_FOUND = 2_000


@dataclass(frozen=True, slots=True, eq=False)
class Keys:
    """A projection whose key template can be read."""

    contract: LoadedContract
    at: int
    projection: Projection
    template: KeyTemplate

    @property
    def path(self) -> Path:
        """Where the template stands."""
        return ("redis", self.at, "key")

    @property
    def shown(self) -> str:
        """The template as written."""
        return f"`{self.contract.written(*self.path)}`"

    @property
    def paths(self) -> tuple[str, ...]:
        """Of the placeholders of the key, and of the member."""
        member = self.projection.member
        if member is None or not self.contract.sound("redis", self.at, "member"):
            return self.template.paths
        try:
            return (*self.template.paths, *KeyTemplate.parse(member).paths)
        except TemplateError:
            return self.template.paths

    @property
    def is_stream(self) -> bool:
        """Whether it is one key, whose entries are read or written one by one."""
        return TYPE_RULES[self.projection.type].appended

    @property
    def is_shared(self) -> bool:
        """Whether documents are members of it, and share it."""
        return self.projection.is_shared

    @property
    def is_fed(self) -> bool:
        """Whether it is a stream that syncd writes; several contracts may read one."""
        return self.is_stream and self.contract.contract.sync.direction == "mongo_to_redis"

    def are_unique(self, paths: Set[str]) -> bool:
        """Whether no two documents have the same values there, as far as the contract says."""
        is_sound, unique = self.contract.sound("mongo", "unique"), self.contract.contract.mongo.unique
        return "_id" in paths or not is_sound or any(paths >= {*fields} for fields in unique if fields)

    def problem(self, what: str, remedy: str) -> Problem:
        """A problem of the template."""
        return self.contract.problem(self.path, what, remedy)


def keys_of(contracts: Sequence[LoadedContract]) -> Iterator[Keys]:
    """All projections with a template that is sound and can be read."""
    for contract in contracts:
        for index, projection in contract.projections():
            if contract.sound("redis", index, "key"):
                try:
                    template = template_of(projection)
                except TemplateError:
                    continue
                yield Keys(contract, index, projection, template)


def templates_can_be_read(contracts: Sequence[LoadedContract]) -> Iterator[Problem]:
    """Braces pair up, and hold a path."""
    for contract in contracts:
        for index, projection in contract.projections():
            try:
                template_of(projection)
            except TemplateError as error:
                what, _, remedy = str(error).partition("|")
                path = ("redis", index, "key")
                yield contract.problem(path, f"key template: {what}", remedy, offset=error.position)


def keys_are_unique_per_document(contracts: Sequence[LoadedContract]) -> Iterator[Problem]:
    """Two documents on one key would overwrite, and then delete, each other."""
    for keys in keys_of(contracts):
        paths = {path for path in keys.template.paths if not path.startswith("$")}
        if keys.is_stream or keys.is_shared or (paths and keys.contract.contract.captures_state):
            continue  # such keys have a rule of their own
        if not paths:
            yield keys.problem(
                f"the key {keys.shown} has no placeholder", "add one that differs per document: {_id}"
            )
        elif not keys.template.separated:
            yield cannot_be_taken_apart(keys)
        elif not keys.are_unique(paths):
            names = ", ".join(sorted(paths))
            remedy = f"add {{_id}}, or state the unique index that covers it: mongo.unique: [[{names}]]"
            yield keys.problem(f"the key {keys.shown} is not unique per document", remedy)


def cannot_be_taken_apart(keys: Keys) -> Problem:
    """Of a key that could be read in two ways."""
    if sum(one.starred for one in keys.template.placeholders) > 1:
        what = f"two placeholders of {keys.shown} that may hold a `:`, so that two documents can meet"
        return keys.problem(what, "star one of them at most")
    what = f"two placeholders of {keys.shown} without a `:` between them, so that two documents can meet"
    return keys.problem(what, "put a `:` between the placeholders")


def what_is_said_of_keys_fits(contracts: Sequence[LoadedContract]) -> Iterator[Problem]:
    """`key_values` and `key_types` are about the placeholders of the key."""
    for keys in keys_of(contracts):
        for name in ("key_values", "key_types"):
            place: Path = ("redis", keys.at, name)
            if keys.is_stream and name in keys.projection.model_fields_set and keys.contract.sound(*place):
                what = f"`{name}` is for keys with placeholders, and a stream is one key"
                yield keys.contract.problem_at_key(place, what, "leave it out")
        for path in () if keys.is_stream else keys.projection.key_types:
            if path not in keys.paths and keys.contract.sound("redis", keys.at, "key_types"):
                what = f"no placeholder of {keys.shown} has this path"
                remedy = f"name one of {', '.join(dict.fromkeys(keys.paths))}, or leave it out"
                yield keys.contract.problem_at_key(("redis", keys.at, "key_types", path), what, remedy)


def keys_leave_control_keys_alone(contracts: Sequence[LoadedContract]) -> Iterator[Problem]:
    """A projection there could overwrite a position, and a sweep could delete one."""
    for keys in keys_of(contracts):
        if keys.template.prefix.startswith(CONTROL_PREFIX):
            what = f"keys that begin with `{CONTROL_PREFIX}` belong to syncd itself"
            yield keys.problem(what, "choose another prefix")


def keys_have_one_owner(contracts: Sequence[LoadedContract]) -> Iterator[Problem]:
    """Two owners of one key delete each other's work."""
    everyone = list(keys_of(contracts))
    examples: dict[int, dict[int, str]] = defaultdict(dict)
    found = 0
    for compared, (one, other) in enumerate(_may_meet(everyone)):
        if compared > MOST_COMPARED or found > MOST_FOUND:
            yield everyone[other].problem(
                "too many keys that cannot be distinguished by how they begin",
                "give each template a prefix of its own",
            )
            break
        key = _shared_key(everyone[one], everyone[other])
        if key is not None:
            found += 1
            examples[other][one] = key
    for at in sorted(examples):
        yield _two_owners(everyone[at], {everyone[one]: key for one, key in sorted(examples[at].items())})


def _may_meet(everyone: list[Keys]) -> Iterator[tuple[int, int]]:
    """Pairs, the earlier one first, of which one begins as the other does. In order of their beginnings those that
    begin a template are the last few before it: most pairs are never compared."""
    begun: list[int] = []
    for at in sorted(range(len(everyone)), key=lambda at: (everyone[at].template.prefix, at)):
        prefix = everyone[at].template.prefix
        while begun and not prefix.startswith(everyone[begun[-1]].template.prefix):
            begun.pop()
        yield from ((min(at, other), max(at, other)) for other in begun)
        begun.append(at)


def _shared_key(one: Keys, other: Keys) -> str | None:
    both_read = one.is_stream and other.is_stream and not (one.is_fed and other.is_fed)
    return None if both_read else overlaps(one.template, other.template)


def _two_owners(keys: Keys, examples: dict[Keys, str]) -> Problem:
    first, key = next(iter(examples.items()))
    line, column = first.contract.locate(*first.path)
    owners = "two projections" if keys.contract is first.contract else "two contracts"
    both = f"{keys.shown} and {first.shown} of {first.contract.file}:{line}:{column}"
    what, remedy = f"{owners} own the same keys: {both}", "give one of them another prefix"
    if keys.projection.share or first.projection.share:
        twice = [name for name in first.template.fields if name in keys.template.fields]
        if twice:
            what = f"{owners} write the field `{twice[0]}` of the same hashes: {both}"
            remedy = "leave it out of one of them"
        else:
            what = f"{owners} write the same keys, and one of them does not share them: {both}"
            remedy = "write share: true in both, or give one of them another prefix"
    if not any(one.contract.source.has_variable(*one.path) for one in (keys, first)):
        what += f", such as `{key}`"
    if len(examples) > 1:
        what += f" (and {len(examples) - 1} more)"
    return keys.problem(what, remedy)


RULES = (
    templates_can_be_read,
    keys_are_unique_per_document,
    what_is_said_of_keys_fits,
    keys_leave_control_keys_alone,
    keys_have_one_owner,
)
