"""The model of `mongo.with`: documents of other collections that a document names by their `_id`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated

from pydantic import Field

from syncd.contract.model.values import Model, Namespace, Path


class Join(Model):
    """One document of another collection, which stands in the document under the name of the join."""

    collection: Namespace = Field(
        description="Database and collection of the joined documents, such as shop.customers."
    )
    on: Annotated[Mapping[Path, Path], Field(min_length=1, max_length=1)] = Field(
        description="Which field names the joined document, as `{customer_id: _id}`. The field is one of the document, "
        "or of another join: `{customer.region_id: _id}`. An index over it and `_id` is needed.",
    )
    fields: tuple[Path, ...] = Field(
        min_length=1,
        max_length=100,
        description="What of the joined document can be projected; an update of other fields is left out.",
    )

    @property
    def local(self) -> str:
        """The path that names the joined document."""
        return next(iter(self.on))

    @property
    def foreign(self) -> str:
        """The field of the joined document that it names."""
        return next(iter(self.on.values()))
