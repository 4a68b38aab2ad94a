"""Rules about documents that are members of keys which they share."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from syncd.contract.lint.keys import Keys, cannot_be_taken_apart, keys_of
from syncd.contract.model.redis.template import KeyTemplate, Placeholder, TemplateError, member_template_of
from syncd.contract.read.loaded import LoadedContract
from syncd.contract.read.source import Path
from syncd.errors import Problem


def _members(contracts: Sequence[LoadedContract]) -> Iterator[tuple[Keys, Path, KeyTemplate]]:
    """Projections whose templates can be read."""
    for keys in keys_of(contracts):
        path: Path = ("redis", keys.at, "member")
        if keys.projection.member is None or keys.projection.each_member:
            continue
        if keys.contract.sound(*path):
            try:
                yield keys, path, member_template_of(keys.projection)
            except TemplateError:
                continue


def member_templates_can_be_read(contracts: Sequence[LoadedContract]) -> Iterator[Problem]:
    """Braces pair up, and hold a path."""
    for contract in contracts:
        for at, projection in contract.projections():
            path: Path = ("redis", at, "member")
            if projection.member is None or not contract.sound(*path):
                continue
            try:
                member_template_of(projection)
            except TemplateError as error:
                what, _, remedy = str(error).partition("|")
                yield contract.problem(path, f"member template: {what}", remedy, offset=error.position)


def members_are_unique_per_document(contracts: Sequence[LoadedContract]) -> Iterator[Problem]:
    """Two documents that are the same member of a key would overwrite, and then remove, each other."""
    for keys, path, member in _members(contracts):
        if not any(
            one.path == "_id" and not one.many for one in (*keys.template.placeholders, *member.placeholders)
        ):
            shown = f"`{keys.contract.written(*path)}` of {keys.shown}"
            what = f"the member {shown} is not unique per document"
            yield keys.contract.problem(path, what, "write {_id} in the member, or in the key")
        if not keys.template.separated:
            yield cannot_be_taken_apart(keys)
        if not member.separated:
            what = "two placeholders of the member without a `:` between them, so that two documents can meet"
            yield keys.contract.problem(path, what, "put a `:` between the placeholders")


def members_of_boards_are_ids(contracts: Sequence[LoadedContract]) -> Iterator[Problem]:
    """What falls out of a board has to say whose it was."""
    for keys, path, member in _members(contracts):
        projection = keys.projection
        if projection.keep is None or not keys.contract.sound("redis", keys.at, "keep"):
            continue
        what = f"`keep` beside the member `{keys.contract.written(*path)}`"
        if member.text != "{_id}":
            remedy = 'write member: "{_id}", which says whose a member is that falls out'
            yield keys.contract.problem(path, what, remedy)
        elif projection.key_values != "encoded" or "_id" in projection.key_types:
            remedy = (
                "leave out `key_values`, and `_id` of `key_types`: a member that falls out has to be an `_id`"
            )
            yield keys.contract.problem(path, what, remedy)


def samples_are_unique_per_document(contracts: Sequence[LoadedContract]) -> Iterator[Problem]:
    """Of two documents that are one sample of a series nothing says which counts."""
    for keys in keys_of(contracts):
        time = keys.projection.time
        if time is None or not keys.contract.sound("redis", keys.at, "time"):
            continue
        if keys.contract.contract.sync.direction != "mongo_to_redis":
            continue  # such have rules of their own
        paths = {*keys.template.paths, time}
        if not keys.template.separated:
            yield cannot_be_taken_apart(keys)
        elif not keys.are_unique(paths):
            what = f"two documents could be one sample of {keys.shown}"
            names = ", ".join(sorted(paths))
            yield keys.problem(what, f"state the unique index that prevents it: mongo.unique: [[{names}]]")


def arrays_stand_in_shared_keys(contracts: Sequence[LoadedContract]) -> Iterator[Problem]:
    """`{tags[]}` gives a document several keys, which only members can have."""
    for keys in keys_of(contracts):
        each = [] if keys.projection.each_member else _each(keys.template)
        if each and each[0].path == "_id":
            yield keys.problem(f"{each[0].shown} in {keys.shown}: `_id` is no array", "write {_id}")
        elif each and not keys.is_shared:
            what = f"{each[0].shown} in {keys.shown} would give each document several keys"
            yield keys.problem(
                what, "write `member` as well, for keys that documents share; or take one value"
            )
        elif len(each) > 1:
            yield keys.problem(
                f"{each[0].shown} and {each[1].shown} in {keys.shown}", "write one array at most"
            )
        elif each and each[0].path in [one.path for one in keys.template.placeholders if not one.many]:
            yield keys.problem(
                f"{each[0].shown} stands in {keys.shown} without `[]` as well", "write it once"
            )
    for keys, path, member in _members(contracts):
        if each := _each(member):
            what = f"{each[0].shown} in a member: a document is one member of a key"
            yield keys.contract.problem(path, what, "write the array in the key")


def _each(template: KeyTemplate) -> list[Placeholder]:
    return [one for one in template.placeholders if one.many]


RULES = (
    member_templates_can_be_read,
    members_are_unique_per_document,
    members_of_boards_are_ids,
    samples_are_unique_per_document,
    arrays_stand_in_shared_keys,
)
