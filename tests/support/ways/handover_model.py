"""Random sets of contracts, random edits of them, and what both stores must hold after each: the model of the property
test of handovers.

Where the rules leave open what a value becomes (a key that an application wrote while no daemon was there to read it),
the model does not go there: it offers no such edit, and says who may write what.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Mapping
from copy import deepcopy
from dataclasses import dataclass, field, replace

from tests.support.ways.handover import (
    FROM_KEYS,
    Content,
    Contracts,
    Document,
    content,
    contract,
    document,
    shape,
)

COLLECTIONS = ("c0", "c1")
NAMES = ("a", "b", "c")
BY_ID = ("t0:{_id}", "t1:{_id}", "t2:{_id}")
BY_SLUG = "t3:{slug}"
STABLE = 30
"""Ids below it are never deleted."""
FORTH = "forth"
PART: Document = {"n": {"from": "n", "type": "int"}}


@dataclass(frozen=True)
class Said:
    """A contract: `way` is FORTH or one of FROM_KEYS."""

    way: str
    collection: str
    templates: tuple[str, ...]
    part: bool = False
    """Whether it shows some of the fields only."""

    @property
    def forth(self) -> bool:
        return self.way == FORTH

    @property
    def two_way(self) -> bool:
        return self.way.startswith("both")

    def written(self) -> Document:
        more: Document = {"fields": PART} if self.part else {}
        shapes = [shape(text, name=text.partition(":")[0], **more) for text in self.templates]
        unique = {"unique": [["slug"]]} if BY_SLUG in self.templates else {}
        sync = None if self.forth else FROM_KEYS[self.way]
        return contract(self.collection, *shapes, sync=sync, **unique)

    def shown(self, one: Document) -> Content:
        return content(shape("", fields=PART) if self.part else shape(""), one)


Set = dict[str, Said]


@dataclass(frozen=True)
class Left:
    """Keys that a contract left when it was removed."""

    name: str
    said: Said
    keys: Mapping[str, Content]


@dataclass
class Model:
    """Everything that should be there at rest."""

    chance: random.Random
    documents: dict[str, dict[int, Document]] = field(default_factory=dict)
    contracts: Set = field(default_factory=dict)
    keys: dict[str, set[int]] = field(default_factory=dict)
    """Of templates that an application owns: the ids that have a key. Both ways, every document has one."""
    left: dict[str, Left] = field(default_factory=dict)

    @staticmethod
    def written(contracts: Set) -> Contracts:
        return {name: said.written() for name, said in contracts.items()}

    def wanted(self) -> dict[str, Content]:
        """Every key that should be there."""
        found: dict[str, Content] = {}
        for said in self.contracts.values():
            for template in said.templates:
                found |= self.held(said, template)
        for left in self.left.values():
            found |= left.keys
        return found

    def held(self, said: Said, template: str) -> dict[str, Content]:
        """The keys of one template."""
        there = self.documents[said.collection]
        there = {number: there[number] for number in self.ids(said, template)}
        return {key_of(template, one): said.shown(one) for one in there.values()}

    # What may be written by whom.

    def may_write(self, collection: str, number: int) -> bool:
        """Whether a client may change this document in MongoDB."""
        for said in self.contracts.values():
            if said.collection == collection and not said.forth and not (said.two_way and number % 2):
                return False
        return not any(
            not left.said.forth and left.said.collection == collection for left in self.left.values()
        )

    def may_delete(self, collection: str, number: int) -> bool:
        """Never what a key that no contract owns at present could bring back."""
        keys = {key for left in self.left.values() for key in left.keys}
        return (
            number >= STABLE
            and not any(key_of(text, {"_id": number}) in keys for text in BY_ID)
            and all(said.forth for said in self.contracts.values() if said.collection == collection)
        )

    # Edits.

    def edit(self) -> tuple[str, Set]:
        """One that is possible now, and the set behind it."""
        kinds: dict[str, Callable[[], Iterator[Set]]] = {
            "move": self._moves,
            "swap": self._swaps,
            "rename": self._renames,
            "remove": self._removals,
            "add": self._additions,
            "fields": self._fields,
            "turn": self._turns,
            "give": self._gives,
            "take": self._takes,
            "drop": self._drops,
            "other collection": self._collections,
        }
        names = list(kinds)
        self.chance.shuffle(names)
        for name in names:
            found = [new for new in kinds[name]() if new and self._possible(new)]
            if found:
                return name, self.chance.choice(found)
        raise AssertionError("no edit is possible")

    def _forth(self) -> list[tuple[str, Said]]:
        return [(name, said) for name, said in self.contracts.items() if said.forth]

    def _free(self) -> list[str]:
        """Names that no contract has, and under which nothing is left."""
        taken = self.contracts.keys() | {left.name for left in self.left.values()}
        return [name for name in NAMES if name not in taken]

    def _without(self, name: str, template: str) -> Set:
        said = self.contracts[name]
        rest = tuple(text for text in said.templates if text != template)
        new = {other: said for other, said in self.contracts.items() if other != name}
        return {**new, name: replace(said, templates=rest)} if rest else new

    def _moves(self) -> Iterator[Set]:
        for name, said in self._forth():
            for template in said.templates:
                new = self._without(name, template)
                for free in self._free():
                    yield {**new, free: replace(said, templates=(template,))}
                for other, taker in self._forth():
                    if other != name:
                        yield {**new, other: replace(taker, templates=(*taker.templates, template))}

    def _swaps(self) -> Iterator[Set]:
        for name, said in self._forth():
            for other, its in self._forth():
                if name < other:
                    yield {
                        **self.contracts,
                        name: replace(said, templates=its.templates),
                        other: replace(its, templates=said.templates),
                    }

    def _renames(self) -> Iterator[Set]:
        for name, said in self.contracts.items():
            for free in self._free():
                yield {free if other == name else other: its for other, its in self.contracts.items()} | {
                    free: said
                }

    def _removals(self) -> Iterator[Set]:
        if len(self.contracts) > 1:
            for name in self.contracts:
                yield {other: said for other, said in self.contracts.items() if other != name}

    def _additions(self) -> Iterator[Set]:
        for name in NAMES:
            left = tuple(text for text, found in self.left.items() if found.name == name)
            if name in self.contracts:
                continue
            if left:
                yield {**self.contracts, name: replace(self.left[left[0]].said, templates=left)}
                continue
            taken = {text for said in self.contracts.values() for text in said.templates}
            for template in {*BY_ID, BY_SLUG} - taken:
                for collection in COLLECTIONS:
                    yield {**self.contracts, name: Said(FORTH, collection, (template,))}

    def _fields(self) -> Iterator[Set]:
        for name, said in self._forth():
            yield {**self.contracts, name: replace(said, part=not said.part)}

    def _turns(self) -> Iterator[Set]:
        for name, said in self.contracts.items():
            if len(said.templates) == 1 and not said.part:
                for way in (FORTH, *FROM_KEYS):
                    if way != said.way:
                        yield {**self.contracts, name: replace(said, way=way)}

    def _gives(self) -> Iterator[Set]:
        for name, said in self._forth():
            for template in said.templates if not said.part else ():
                new = self._without(name, template)
                for free in self._free():
                    for way in FROM_KEYS:
                        yield {**new, free: Said(way, said.collection, (template,))}
                    for way in ("keyspace", "both, keyspace"):
                        for collection in COLLECTIONS:
                            yield {**new, free: Said(way, collection, (template,))}

    def _takes(self) -> Iterator[Set]:
        for name, said in self.contracts.items():
            if not said.forth:
                (template,) = said.templates
                new = self._without(name, template)
                for other, taker in self._forth():
                    yield {**new, other: replace(taker, templates=(*taker.templates, template))}

    def _drops(self) -> Iterator[Set]:
        for name, said in self._forth():
            if len(said.templates) > 1:
                for template in said.templates:
                    yield self._without(name, template)

    def _collections(self) -> Iterator[Set]:
        for name, said in self._forth():
            for collection in COLLECTIONS:
                if collection != said.collection:
                    yield {**self.contracts, name: replace(said, collection=collection)}

    def _possible(self, new: Set) -> bool:
        """Whether the rules of contracts allow it, and everything has a slug where one is needed."""
        backs = [said.collection for said in new.values() if not said.forth]
        for said in new.values():
            if BY_SLUG in said.templates and (
                not said.forth
                or said.collection in backs
                or any("slug" not in one for one in self.documents[said.collection].values())
            ):
                return False
        left = [
            left
            for text, left in self.left.items()
            if not any(text in said.templates for said in new.values())
        ]
        frozen = {one.said.collection for one in left if not one.said.forth}
        if any(said.collection in frozen and not said.forth for said in new.values()):
            return False
        return len(set(backs)) == len(backs)

    def is_loud(self, new: Set) -> bool:
        """Whether documents may change while it is made: where it is about documents and projections alone, and leaves
        nothing behind."""
        kept = {text for said in new.values() for text in said.templates}
        gone = [said for name, said in self.contracts.items() if name not in new]
        return all(said.forth for said in (*self.contracts.values(), *new.values())) and all(
            text in kept for said in gone for text in said.templates
        )

    def is_steady(self, new: Set) -> bool:
        """Whether a return to the old set for a while, by the daemon that has it still, leaves no trace."""
        was = self._owners(self.contracts)
        for text, (_, said) in self._owners(new).items():
            before = was[text][1] if text in was else None
            involved = not said.forth or (before is not None and not before.forth)
            if involved and before is not None and before.collection != said.collection:
                return False
        return True

    @staticmethod
    def _owners(contracts: Set) -> dict[str, tuple[str, Said]]:
        return {text: (name, said) for name, said in contracts.items() for text in said.templates}

    def take(self, new: Set) -> None:
        """What the stores become under another set, once all is at rest."""
        old, self.contracts = self.contracts, new
        was, now = self._owners(old), self._owners(new)
        held = {text: self.held(said, text) for text, (_, said) in was.items()}
        ids = {text: self.ids(said, text) for text, (_, said) in was.items()}
        for text, (_, said) in now.items():
            if text in self.left:
                held[text] = dict(self.left.pop(text).keys)
                ids[text] = {number_of(key) for key in held[text]} if text != BY_SLUG else set()
            if not said.forth:
                self._adopt(said, text, ids.get(text, set()), held.get(text, {}))
        for text, (name, said) in was.items():
            if text not in now and (name not in new or not said.forth):
                self.left[text] = Left(name, said, held[text])
            if text not in now or now[text][1].forth:
                self.keys.pop(text, None)

    def ids(self, said: Said, text: str) -> set[int]:
        return (
            set(self.keys[text])
            if said.way in ("outbox", "keyspace")
            else set(self.documents[said.collection])
        )

    def _adopt(self, said: Said, text: str, ids: set[int], held: dict[str, Content]) -> None:
        """An application owns these keys now: what has no document gets one. What differs, in another collection:
        the key's value counts, or both ways MongoDB's."""
        there = self.documents[said.collection]
        for number in ids:
            values = held[key_of(text, {"_id": number})]
            new = {"n": int(values["n"]), "text": values["text"]}
            if number not in there:
                there[number] = {"_id": number, **new}
            elif not said.two_way:
                there[number] |= new
        self.keys[text] = set(ids)

    # Writes.

    def put(self, said: Said, number: int, n: int) -> dict[str, str | int]:
        """An application writes a key; what it holds then."""
        values = {"n": n, "text": f"version {n} of {number}"}
        there = self.documents[said.collection]
        there[number] = {**there.get(number, {"_id": number}), **values}
        self.keys[said.templates[0]].add(number)
        return deepcopy(values)  # type: ignore[arg-type]

    def remove(self, said: Said, number: int) -> None:
        """An application deletes a key, and so the document."""
        self.keys[said.templates[0]].discard(number)
        del self.documents[said.collection][number]


def key_of(template: str, one: Document) -> str:
    prefix, _, path = template.partition(":")
    return f"{prefix}:{one[path[1:-1]]}"


def number_of(key: str) -> int:
    return int(key.partition(":")[2])


def beginning(chance: random.Random) -> Model:
    """Two collections, and two contracts from MongoDB."""
    model = Model(chance)
    for at, collection in enumerate(COLLECTIONS):
        model.documents[collection] = {n: document(n, at) for n in range(at * 10, STABLE)}
    templates = [*BY_ID, BY_SLUG]
    chance.shuffle(templates)
    model.contracts = {
        "a": Said(FORTH, "c0", tuple(templates[:2])),
        "b": Said(FORTH, chance.choice(COLLECTIONS), tuple(templates[2 : chance.choice((3, 4))])),
    }
    return model
