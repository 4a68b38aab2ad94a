"""How `syncd plan` shows a plan of many contracts."""

from __future__ import annotations

from syncd.cli.contracts.plan import plan_lines
from syncd.ops.checks.conditions import Finding
from syncd.ops.planning.decide import Action
from syncd.ops.planning.step import EditPlan, Memory, Step


def test_what_changes_is_not_hidden_by_what_does_not() -> None:
    """Contracts that stay the same are one line, but for those with something to say, and what is wrong with
    a server stands once."""
    lost = Finding("promise", "nothing is kept", "keep it", ("nothing_lost",), ("carts", "films"))
    steps = [
        Step("carts", Action.SAME, findings=[lost]),
        Step("films", Action.RESTART, findings=[lost]),
        Step("users", Action.SAME),
        Step("stock", Action.SAME, findings=[Finding("data", "taken", "choose", (), ("stock",))]),
    ]
    advice = Finding("advice", "slow", "hurry")
    said = list(plan_lines(EditPlan(["redis"], steps, Memory(1, 0, 1), [advice])))
    assert said == [
        "redis", "films: restart", "stock: same", "  data (stock): taken; choose", "same: carts, users",
        "promise (nothing_lost; carts, films): nothing is kept; keep it", "advice: slow; hurry", "3 same, 1 restart",
    ]  # fmt: skip
