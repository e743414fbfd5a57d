"""Where a completion begins to say again what stands above it: the last lines, or its own.

Small models loop. A line or a few lines that stand there twice in a row are one time too many,
unless they say little, like closers or the rows of a table. Knows neither holes nor tokens.
"""

import re
from collections.abc import Sequence
from typing import NamedTuple

MAX_PERIOD = 4
"""Lines that are repeated together."""
_WORD = re.compile(r"\w+")
_NAME = re.compile(r"[^\W\d_]")


class Row(NamedTuple):
    """A line of a completion, with what stood before the cursor if it is the first one."""

    start: int
    """Where its part of the completion begins."""
    text: str
    is_complete: bool
    """Whether nothing more can come to it."""
    is_new: bool = True
    """Whether all of it is the completion's; a line that was begun by hand is never refused."""


class Repetition(NamedTuple):
    """From `start` on; if not `is_certain`, what follows may still make it something else."""

    start: int
    is_certain: bool


def find_repetition(
    lines_above: Sequence[str], rows: Sequence[Row], *, is_final: bool
) -> Repetition | None:
    """The first place where rows repeat the ones right above them.

    Args:
        lines_above: before the cursor's line, blank ones left out; the last `MAX_PERIOD` matter.
        rows: of the completion; blank ones are ignored.
        is_final: no further row follows.
    """
    rows = [row for row in rows if row.text.strip()]
    texts = [line.rstrip() for line in lines_above] + [row.text.rstrip() for row in rows]
    for index, row in enumerate(rows):
        place = len(lines_above) + index
        for period in range(1, min(MAX_PERIOD, place) + 1 if row.is_new else 0):
            again = texts[place : place + period]
            first = texts[place - period : place]
            if again[:-1] != first[: len(again) - 1]:
                continue
            last, model = rows[min(index + period, len(rows)) - 1], first[len(again) - 1]
            if last.is_complete or is_final:
                is_alike = again[-1] == model
            else:
                is_alike = model.startswith(again[-1])
            is_whole = len(again) == period and (last.is_complete or is_final)
            if is_alike and (is_whole or not is_final) and any(map(_says_much, first)):
                return Repetition(row.start, is_whole)
    return None


def _says_much(line: str) -> bool:
    """Whether nobody would write this line twice in a row: two words, one of them no number."""
    return len(_WORD.findall(line)) > 1 and _NAME.search(line) is not None
