"""The model of one place in a contract: known keys, allowed values, and its description."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel

from syncd.contract.model.contract import Contract
from syncd.contract.read.source import Path

_WANTED: dict[Any, tuple[str, str]] = {
    str: ("text", "write some text"),
    bool: ("true or false", "write true or false"),
    int: ("a whole number", "write a whole number, such as 384"),
    float: ("a number", "write a number, such as 1.5"),
    tuple: ("a list", "begin every entry with `- `, or write them in [ ]"),
    Mapping: ("a mapping", "write `key: value` lines, or {key: value}"),
    dict: ("a mapping", "write `key: value` lines, or {key: value}"),
}


@dataclass(frozen=True, slots=True)
class Place:
    """An annotation of the model and the description that goes with it."""

    annotation: Any
    description: str = ""

    @property
    def keys(self) -> tuple[str, ...]:
        """The keys that a mapping may have here."""
        return tuple(
            dict.fromkeys(
                field.alias or name
                for model in self._models
                for name, field in model.model_fields.items()
                if not field.exclude
            )
        )

    @property
    def choices(self) -> tuple[str, ...]:
        """The values that are allowed here."""
        return tuple(str(choice) for option in _options(self.annotation) for choice in _literals(option))

    @property
    def wanted(self) -> str:
        """The sort of value that belongs here."""
        return (
            "a mapping"
            if any(map(_is_model, _options(self.annotation)))
            else _WANTED.get(self._plain, ("something else", ""))[0]
        )

    @property
    def how(self) -> str:
        """How such a value is written."""
        if self.keys and not (len(self._models) > 1 and self.choices):
            return f"write `key: value` lines; the keys are {', '.join(self.keys)}"
        if self.wanted == "a mapping" and self.choices:
            return f"write {{name: title, type: text}}; the types are {', '.join(self.choices)}"
        return _WANTED.get(self._plain, ("", self.remedy))[1]

    @property
    def remedy(self) -> str:
        """The description as the end of a sentence."""
        text = (
            self.description
            or next((model.__doc__ for model in self._models if model.__doc__), "")
            or "see the reference of contracts"
        )
        return " ".join(text.split()).rstrip(".")

    @property
    def _models(self) -> list[type[BaseModel]]:
        """What may stand here as a mapping: an optional part is a union with nothing."""
        return [option for option in _options(self.annotation) if _is_model(option)]

    @property
    def _plain(self) -> Any:
        option = next(iter(_options(self.annotation)), None)
        return get_origin(option) or option


def place_at(loc: Path, model: type[BaseModel] = Contract) -> Place:
    """The place at pydantic's `loc`, as far as the model knows one."""
    place = Place(model)
    for part in loc:
        place = _member(place, part)
    return place


def _member(place: Place, part: str | int) -> Place:
    options = _options(place.annotation)
    if len(options) > 1:
        chosen = next((option for option in options if _is_called(option, part)), options[0])
        return Place(chosen, place.description)
    option = options[0]
    if _is_model(option):
        return _of_field(option, part)
    arguments = get_args(option)
    inner = arguments[-1] if get_origin(option) is dict else next(iter(arguments), None)
    return Place(inner)


def _of_field(model: type[BaseModel], part: str | int) -> Place:
    for name, field in model.model_fields.items():
        if part in (field.alias, name):
            return Place(field.annotation, field.description or "")
    return Place(None)


def _options(annotation: Any) -> tuple[Any, ...]:
    """The members of a union without None, or the one annotation, each freed of its metadata."""
    while get_origin(annotation) is Annotated:
        annotation = get_args(annotation)[0]
    if get_origin(annotation) in (Union, UnionType):
        return tuple(inner for member in get_args(annotation) for inner in _options(member))
    return () if annotation is NoneType else (annotation,)


def _literals(option: Any) -> tuple[Any, ...]:
    if get_origin(option) is Literal:
        return get_args(option)
    if _is_model(option) and "type" in option.model_fields:
        return _literals(option.model_fields["type"].annotation)
    return ()


def _is_called(option: Any, label: str | int) -> bool:
    """True if pydantic labels this member of a union so."""
    return label in _literals(option) or (_is_model(option) and label == "field")


def _is_model(annotation: Any) -> bool:
    return isinstance(annotation, type) and issubclass(annotation, BaseModel)
