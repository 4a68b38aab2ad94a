"""Who reads what of a contract's keys: a change that takes it away names them."""

from __future__ import annotations

from typing import Annotated, Any, Literal, TypeAlias

from pydantic import BeforeValidator, Field

from syncd.contract.model.values import Model, Name

ALL = "all"


def _form_of_reads(value: Any) -> Any:
    if value == ALL:
        return (ALL,)
    if not isinstance(value, list | tuple) or not value:
        raise ValueError("not what a team can read|name the fields, as in [title, year], or write all")
    return value


Reads: TypeAlias = Annotated[
    tuple[Annotated[str, Field(min_length=1)], ...],
    BeforeValidator(_form_of_reads, json_schema_input_type=Literal["all"] | list[str]),
    Field(max_length=1_000),
]


class Consumer(Model):
    """A team that reads keys of the contract."""

    team: str = Field(min_length=1, description="Who reads: `syncd diff` names it where a change breaks it.")
    reads: dict[Name, Reads] = Field(
        min_length=1,
        description="By projection the fields that the team reads, such as {card: [title, year]}; `all` is the key as "
        "a whole, for types without fields.",
    )

    def reads_of(self, projection: str, name: str | None) -> bool:
        """Whether the team reads a field of a projection; None: anything of it."""
        read = self.reads.get(projection, ())
        return bool(read) and (name is None or name in read or read == (ALL,))
