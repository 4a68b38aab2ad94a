"""What the lane and `syncd doctor` say where the name of a search index is not the contract's: one text for both."""

from __future__ import annotations

from typing import NamedTuple

_HELP = "see docs/how-to/ai-clients.md"


class NameTaken(NamedTuple):
    """A name that leads to an index that is not syncd's."""

    what: str
    remedy: str

    def __str__(self) -> str:
        return f"{self.what}; {self.remedy}"


def taken(name: str, real: str, *, in_place: bool) -> NameTaken:
    """The index name `name` of a contract leads to the index `real` of another client. `in_place`: the contract wants
    an index of that very name, not an alias."""
    if real != name:
        what = f"the alias {name} leads to {real}, which is not syncd's"
        remedy = f"`FT.ALIASDEL {name}`, where no other client needs it"
    elif in_place:
        what = f"another client has made index {name} over other keys or fields than the contract says"
        remedy = f"`FT.DROPINDEX {name}`, without DD, and syncd makes its own"
    else:
        what = f"another client has made an index {name}, which hides the alias of that name"
        remedy = (
            f"`FT.DROPINDEX {name}`, without DD, and have the client open the index instead of creating it, or write "
            "`generations: in_place`"
        )
    return NameTaken(
        f"{what}: searches by it do not reach the index of the contract",
        f"{remedy}; or choose another `index.name`; {_HELP}",
    )
