"""Drafts of an edit: what the old code goes on with, aligned again after each divergence.

Most of an edit's answer is the old code, so its tokens are drafts from the first one on; the AR
model verifies them like all others. What was replaced once, such as a name, is drafted replaced
where it comes again. Knows neither text nor model.
"""

from collections.abc import Sequence

LONGEST_TAIL = 4
"""Tokens that are compared to find the place again."""
WINDOW = 96
"""How far from the expected place it is looked for; further away, in either direction, the like of
a few tokens is seldom the same code."""
NEAR = 4
"""How far ahead a single token tells the place; further away it takes two."""
LONGEST_REPLACED = 4
LONGEST_REPLACEMENT = 8
"""Tokens; what is longer is no name, and seldom comes again."""


class OldCode:
    """A place in the old code that moves along as the answer grows.

    Attributes:
        run: tokens of the answer that have been as drafted, without a gap, up to now.
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
        self._replacements: dict[tuple[int, ...], list[int]] = {}
        self._begun: tuple[int, ...] = ()
        """What the latest replacement replaces."""
        self._owed: list[int] = []
        """Of its tokens: what is still to come before the old code goes on."""

    def anew(self) -> "OldCode":
        """The same code, before any answer."""
        return OldCode(self._old)

    def drafts(self, num_drafts: int) -> list[int]:
        """What follows if the old code goes on from here."""
        drafted, place = list(self._owed), self._next
        while place < len(self._old) and len(drafted) < num_drafts:
            replaced = self._replaced_at(place)
            drafted += self._replacements[replaced] if replaced else [self._old[place]]
            place += max(len(replaced), 1)
        return drafted[:num_drafts]

    def follow(self, tokens: Sequence[int]) -> None:
        """The answer goes on with `tokens`."""
        for token in tokens:
            self._answer.append(token)
            if not self._goes_on(token):
                self._diverge()

    def _goes_on(self, token: int) -> bool:
        """Whether the answer is as drafted; if so the place moves."""
        if self._owed:
            return self._goes_on_replaced(token)
        replaced = self._replaced_at(self._next)
        if replaced:
            first, *self._owed = self._replacements[replaced]
            if token == first:
                self._begun = replaced
                self._settle(self._next + len(replaced), self.run + 1)
                return True
            # Not everywhere, then; another time it may be seen again.
            del self._replacements[replaced]
            self._owed.clear()
        if self._next < len(self._old) and self._old[self._next] == token:
            self._learn(self._next, self._num_strange, 1)
            self._settle(self._next + 1, self.run + 1)
            return True
        return False

    def _goes_on_replaced(self, token: int) -> bool:
        """The same in the middle of a replacement."""
        if token == self._owed[0]:
            del self._owed[0]
            self.run += 1
            return True
        # It was another one: what has come of it stands for what it was to replace.
        replacement = self._replacements.pop(self._begun)
        self._num_strange = len(replacement) - len(self._owed)
        self._next = self._anchor = self._anchor - len(self._begun)
        self._owed.clear()
        return False

    def _diverge(self) -> None:
        """Look for the place anew; without one, tokens are inserted or replace others."""
        place, length = self._find()
        if length:
            self._learn(place - length, self._num_strange + 1 - length, length)
            self._settle(place, length)
            return
        self.run = 0
        self._num_strange += 1
        # A single strange token mostly stands for one (a new name); more of them are inserted.
        skipped = 1 if self._num_strange == 1 else 0
        self._next = min(self._anchor + skipped, len(self._old))

    def _learn(self, place: int, num_strange: int, num_behind: int) -> None:
        """The old code goes on at `place`, behind so many tokens that are not its own."""
        replaced = tuple(self._old[self._anchor : place])
        replacement = self._answer[len(self._answer) - num_behind - num_strange :][:num_strange]
        if 0 < len(replaced) <= LONGEST_REPLACED and 0 < num_strange <= LONGEST_REPLACEMENT:
            self._replacements[replaced] = replacement

    def _replaced_at(self, place: int) -> tuple[int, ...]:
        """The longest run of old tokens from `place` on that was replaced before; or none."""
        for length in range(LONGEST_REPLACED, 0, -1):
            replaced = tuple(self._old[place : place + length])
            if replaced in self._replacements:
                return replaced
        return ()

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
            # What stands before the expected place was written already.
            if length > (0 if 0 <= place - self._anchor <= NEAR else 1):
                best = max(best, (length, -abs(place - self._anchor), place + 1))
        return best[2], best[0]

    def _agreement(self, place: int) -> int:
        """How many tokens before `place` are those that the answer ends with, at most four."""
        most = min(LONGEST_TAIL, place, len(self._answer))
        length = 0
        while length < most and self._old[place - 1 - length] == self._answer[-1 - length]:
            length += 1
        return length
