from dataclasses import replace

import pytest

from sampler.drafting import CUDA_COSTS, NATIVE_COSTS, cost_ms
from sampler.messages import Complete
from sampler.sharing import MOST_LONGER, least_room, room_beside
from tests.property.test_engine import ANYTHING

REQUEST = Complete("1", "d", "a", "b", ANYTHING)


@pytest.mark.parametrize("costs", [NATIVE_COSTS, CUDA_COSTS])
@pytest.mark.parametrize("first", [1, 5, 8, 24])
def test_who_is_waited_for_hardly_waits_longer(costs, first):
    room = room_beside(first, costs, first=first, most_rows=64, is_waited_for=True)
    alone_ms = cost_ms(costs, first)
    assert cost_ms(costs, first + room) <= (1 + MOST_LONGER) * alone_ms
    is_longer = cost_ms(costs, first + room + 1) > (1 + MOST_LONGER) * alone_ms
    assert is_longer or first + room == 64
    more = room_beside(first + 1, costs, first=first, most_rows=64, is_waited_for=True)
    assert more == max(room - 1, 0), "a third request takes what the second has left"


def test_rows_that_cost_nothing_are_there_for_all_and_dear_ones_for_nobody():
    for is_waited_for in (False, True):
        free = room_beside(3, ((1, 1.0),), first=3, most_rows=64, is_waited_for=is_waited_for)
        assert free == 61
        assert room_beside(64, ((1, 1.0),), first=64, most_rows=64, is_waited_for=True) == 0
    steep = ((1, 1.0), (64, 64.0))
    assert room_beside(3, steep, first=3, most_rows=64, is_waited_for=True) == 0


def test_work_ahead_shares_whatever_that_saves():
    assert room_beside(1, NATIVE_COSTS, first=1, most_rows=64, is_waited_for=False) > 7


def test_modes_whose_text_depends_on_the_layout_get_all_rows_or_none():
    assert [least_room(replace(REQUEST, mode=mode), 32) for mode in ("ar", "exact")] == [1, 1]
    assert least_room(replace(REQUEST, mode="balanced"), 32) == 32
    assert least_room(replace(REQUEST, mode="fast"), 32) == 32
    assert least_room(replace(REQUEST, mode="fast", temperature=0.7), 32) == 1
    assert least_room(replace(REQUEST, mode="diffusion"), 32) == float("inf")
