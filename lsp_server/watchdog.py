"""Whether an engine that owes us an answer is still at work.

Judged in rounds, one every `PING_EVERY_S` seconds while a request is open, and not by a clock: a
laptop that wakes up, or an editor that was stopped, must not make a sound engine look dead. Knows
neither sockets nor processes.
"""

from sampler.messages import Event, Pong

PING_EVERY_S = 5.0
MOST_UNANSWERED = 3
"""Rounds without any frame; then the process hangs."""
LONGEST_STEP_S = 60.0
"""The device is at one step for longer, which is one forward: seconds on the slowest machine."""
MOST_STUCK = 2
"""Rounds in which the engine says that its step is too long."""


class Watchdog:
    """Counts silent and stuck rounds of one connection."""

    def __init__(self) -> None:
        self._num_unanswered = 0
        self._num_stuck = 0

    def hear(self, event: Event) -> None:
        """A frame has come."""
        self._num_unanswered = 0
        is_stuck = isinstance(event, Pong) and (event.step_s or 0.0) > LONGEST_STEP_S
        self._num_stuck = self._num_stuck + 1 if is_stuck else 0

    def rest(self) -> None:
        """A round has passed in which no request was open."""
        self._num_unanswered = self._num_stuck = 0

    def pass_round(self) -> str | None:
        """A round has passed with a request open; why the engine is to be replaced, if it is.

        If not, it is to be pinged.
        """
        if self._num_unanswered >= MOST_UNANSWERED:
            seconds = PING_EVERY_S * MOST_UNANSWERED
            return f"The engine hung: it gave no sign of life for {seconds:.0f} s."
        if self._num_stuck >= MOST_STUCK:
            return f"The engine hung: one step took more than {LONGEST_STEP_S:.0f} s."
        self._num_unanswered += 1
        return None
