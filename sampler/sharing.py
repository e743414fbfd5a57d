"""How much of a forward later requests may take beside the oldest one.

Weights are read once for all rows, so a few more cost little, how little depends on the machine.
Pure: knows neither model nor cache.
"""

import math

from sampler.drafting import CostCurve, cost_ms
from sampler.messages import Complete

MOST_LONGER = 0.1
"""Of the time that a forward takes alone: so much longer it may take because of others."""


def room_beside(
    num_before: int, costs: CostCurve, *, first: int, most_rows: int, is_waited_for: bool
) -> int:
    """Rows that one more request may add to a forward.

    Args:
        num_before: rows that it has.
        costs: of forwards by rows.
        first: rows of the oldest request, among them.
        most_rows: of a forward that is shared.
        is_waited_for: whether somebody waits for that one. If not, others may add whatever costs
            less in this forward than in one of its own.
    """
    alone_ms, before_ms = cost_ms(costs, first), cost_ms(costs, num_before)
    room = 0
    while num_before + room < most_rows:
        together_ms = cost_ms(costs, num_before + room + 1)
        if is_waited_for and together_ms > alone_ms * (1 + MOST_LONGER):
            break
        if not is_waited_for and together_ms > before_ms + cost_ms(costs, room + 1):
            break
        room += 1
    return room


def least_room(request: Complete, max_rows: int) -> float:
    """The fewest rows with which a request may join, so that its text does not depend on others.

    Modes that accept more than the base's own choice choose other tokens in another layout of rows;
    a canvas is denoised alone.
    """
    if request.mode == "diffusion":
        return math.inf
    is_exact = request.mode in ("ar", "exact") or request.temperature > 0
    return 1 if is_exact else max_rows
