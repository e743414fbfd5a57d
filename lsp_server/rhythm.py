"""How long to wait with a request, from how a person types: a debounce that adapts.

A request is wasted if the next key is pressed before an answer could be there. Whoever types that
fast is waited for, by about one gap between keys, of which the editor's own debounce has already
passed. Who types slowly, or has stopped, is not waited for. Pure but for the clock readings that it
is given, in seconds.
"""

from collections import deque
from statistics import median

LONGEST_GAP_S = 1.0
"""A longer pause says nothing about typing."""
NUM_GAPS = 12
MARGIN = 1.3
"""Most gaps are shorter than the typical one times this."""
PAUSE_S = 4.0
"""Whoever has done nothing for so long is not typing any more."""
LEAST_WAIT_S = 0.003
"""A burst of messages is read to its end before anything starts."""


class Rhythm:
    """The gaps between the latest changes of a document."""

    def __init__(self) -> None:
        self._gaps_s: deque[float] = deque(maxlen=NUM_GAPS)
        self._last_s: float | None = None

    def note_change(self, now_s: float) -> None:
        """The document has changed."""
        if self._last_s is not None and now_s - self._last_s <= LONGEST_GAP_S:
            self._gaps_s.append(now_s - self._last_s)
        self._last_s = now_s

    def wait_s(self, now_s: float, *, answer_s: float, longest_s: float) -> float:
        """How long to wait from now.

        Args:
            now_s: the clock.
            answer_s: how long an answer takes: with longer gaps than this nothing is wasted.
            longest_s: upper bound, counted from the last change.
        """
        if self._last_s is None or not self._gaps_s:
            return LEAST_WAIT_S
        gap_s = median(self._gaps_s) * MARGIN
        wanted_s = min(gap_s, longest_s) if gap_s < answer_s else 0.0
        return max(wanted_s - (now_s - self._last_s), LEAST_WAIT_S)
