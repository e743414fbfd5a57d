import pytest

from lsp_server.rhythm import LEAST_WAIT_S, Rhythm


def typed(*gaps_s: float) -> tuple[Rhythm, float]:
    """Somebody who has pressed keys with these gaps, and the time of the last one."""
    rhythm, now_s = Rhythm(), 100.0
    rhythm.note_change(now_s)
    for gap_s in gaps_s:
        now_s += gap_s
        rhythm.note_change(now_s)
    return rhythm, now_s


def wait_s(rhythm: Rhythm, now_s: float, longest_s: float = 0.2) -> float:
    return rhythm.wait_s(now_s, answer_s=0.25, longest_s=longest_s)


def test_nobody_is_waited_for_who_has_not_typed() -> None:
    assert wait_s(Rhythm(), 1.0) == LEAST_WAIT_S
    rhythm, now_s = typed()
    assert wait_s(rhythm, now_s) == LEAST_WAIT_S


def test_fast_typing_is_waited_for_by_about_one_gap() -> None:
    rhythm, now_s = typed(0.1, 0.1, 0.1)
    assert wait_s(rhythm, now_s) == pytest.approx(0.13)


def test_what_the_editor_has_waited_counts() -> None:
    rhythm, now_s = typed(0.1, 0.1, 0.1)
    assert wait_s(rhythm, now_s + 0.05) == pytest.approx(0.08)
    assert wait_s(rhythm, now_s + 0.2) == LEAST_WAIT_S  # Neovim


def test_slow_typing_is_not_waited_for() -> None:
    rhythm, now_s = typed(0.4, 0.3, 0.5)
    assert wait_s(rhythm, now_s) == LEAST_WAIT_S


def test_the_setting_is_the_upper_bound() -> None:
    rhythm, now_s = typed(0.1, 0.1, 0.1)
    assert wait_s(rhythm, now_s, longest_s=0.05) == pytest.approx(0.05)
    assert wait_s(rhythm, now_s, longest_s=0.0) == LEAST_WAIT_S


def test_pauses_say_nothing_about_typing() -> None:
    rhythm, now_s = typed(0.1, 5.0, 0.1, 7.0)
    assert wait_s(rhythm, now_s) == pytest.approx(0.13)


def test_it_follows_the_latest_gaps() -> None:
    rhythm, now_s = typed(*[0.1] * 20, *[0.4] * 20)
    assert wait_s(rhythm, now_s) == LEAST_WAIT_S
