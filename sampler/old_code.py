"""Drafts of an edit: what the old code goes on with, aligned again after each divergence.

Most of an edit's answer is the old code, so its tokens are drafts from the first one on; the AR
model verifies them like all others. Knows neither text nor model.
"""

from collections.abc import Sequence

LONGEST_TAIL = 4
"""Tokens that are compared to find the place again."""
WINDOW = 96
"""How far from the expected place it is looked for; further away, in either direction, the like of
a few tokens is seldom the same code."""


class OldCode:
    """A place in the old code that moves along as the answer grows.

    Attributes:
        run: tokens of the answer that have been the old code's, without a gap, up to now.
    """

    def __init__(self, tokens: Sequence[int]) -> None:
        self.run = 0
        self._old = list(tokens)
        self._next = 0
        self._anchor = 0
        """Where the last match ended: what is inserted stands before it, what replaces it stands
        for it."""
        self._num_strange = 0
        self._answer: list[int] = []

    def drafts(self, num_drafts: int) -> list[int]:
        """What follows if the old code goes on from here."""
        return self._old[self._next : self._next + num_drafts]

    def follow(self, tokens: Sequence[int]) -> None:
        """The answer goes on with `tokens`."""
        for token in tokens:
            self._answer.append(token)
            if self._next < len(self._old) and self._old[self._next] == token:
                self._settle(self._next + 1, self.run + 1)
                continue
            place, length = self._find()
            if length:
                self._settle(place, length)
                continue
            self.run = 0
            self._num_strange += 1
            # A single strange token mostly stands for one (a new name); more of them are inserted.
            skipped = 1 if self._num_strange == 1 else 0
            self._next = min(self._anchor + skipped, len(self._old))

    def _settle(self, place: int, run: int) -> None:
        self._next = self._anchor = place
        self.run, self._num_strange = run, 0

    def _find(self) -> tuple[int, int]:
        """The place behind the answer's tail, and how many tokens agree.

        The longest tail wins, then the nearest place.
        """
        best = (0, 0, 0)
        first = max(self._anchor - WINDOW, 0)
        for place in range(first, min(self._anchor + WINDOW, len(self._old))):
            length = self._agreement(place + 1)
            # One token behind the expected place is too little: it was written already.
            if length > (0 if place >= self._anchor else 1):
                best = max(best, (length, -abs(place - self._anchor), place + 1))
        return best[2], best[0]

    def _agreement(self, place: int) -> int:
        """How many tokens before `place` are those that the answer ends with, at most four."""
        most = min(LONGEST_TAIL, place, len(self._answer))
        length = 0
        while length < most and self._old[place - 1 - length] == self._answer[-1 - length]:
            length += 1
        return length
