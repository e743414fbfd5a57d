"""An answer that is the old code is none: where to leave it.

Small models often give code back unchanged, and are sure of every token of it but those that they
were asked to change. So the least sure place is where another token is tried. Knows neither model
nor cache.
"""

from collections.abc import Sequence

MAX_PLACES = 3
"""Places that are tried, one after the other: another token may spell the same text."""


class Refusal:
    """The text that an answer must not be, blanks and line breaks apart."""

    def __init__(self, refused: str) -> None:
        self._refused = _without_blanks(refused)
        self._tried: set[int] = set()

    def may_become(self, text: str) -> bool:
        """Whether a text that begins like this could still turn out to be the refused one."""
        return self._refused.startswith(_without_blanks(text))

    def place_to_leave(
        self, text: str, pieces: Sequence[str], probabilities: Sequence[float]
    ) -> int | None:
        """The token to replace, if a finished text is the refused one; None: it stays.

        Not the first token nor blanks and line breaks, in whose place something is put in front of
        the code, behind it or between its lines: imports, tests, comments.

        Args:
            text: all of it.
            pieces: what each of its tokens spells.
            probabilities: of each token, as it was chosen.
        """
        if _without_blanks(text) != self._refused or len(self._tried) >= MAX_PLACES:
            return None
        places = [
            index
            for index, piece in enumerate(pieces)
            if index > 0 and piece.strip() and index not in self._tried
        ]
        if not places:
            return None
        place = min(places, key=lambda index: probabilities[index])
        self._tried.add(place)
        return place


def _without_blanks(text: str) -> str:
    return "".join(text.split())
