"""The watchdog's judgment, without processes or time."""

from lsp_server.watchdog import LONGEST_STEP_S, MOST_STUCK, MOST_UNANSWERED, Watchdog
from sampler.messages import BlockCommitted, Pong


def num_rounds_until_hang(watchdog: Watchdog, most: int = 20) -> int | None:
    return next((index for index in range(most) if watchdog.pass_round()), None)


def test_silence_is_a_hang_after_some_rounds() -> None:
    assert num_rounds_until_hang(Watchdog()) == MOST_UNANSWERED


def test_any_frame_is_a_sign_of_life() -> None:
    watchdog = Watchdog()
    for event in [Pong(), BlockCommitted("1", "a"), Pong(LONGEST_STEP_S)] * 10:
        for _ in range(MOST_UNANSWERED):
            assert watchdog.pass_round() is None
        watchdog.hear(event)


def test_a_step_that_is_too_long_counts_only_in_a_row() -> None:
    watchdog = Watchdog()
    for _ in range(5):
        for _ in range(MOST_STUCK - 1):
            assert watchdog.pass_round() is None
            watchdog.hear(Pong(LONGEST_STEP_S + 1))
        assert watchdog.pass_round() is None
        watchdog.hear(Pong(0.1))
    for _ in range(MOST_STUCK):
        assert watchdog.pass_round() is None
        watchdog.hear(Pong(LONGEST_STEP_S + 1))
    assert "one step" in str(watchdog.pass_round())


def test_rounds_without_a_request_do_not_count() -> None:
    watchdog = Watchdog()
    for _ in range(MOST_UNANSWERED):
        watchdog.pass_round()
    watchdog.rest()
    assert num_rounds_until_hang(watchdog) == MOST_UNANSWERED
