"""Drafts copied from the context: what followed the last occurrence of the current n-gram.

The proposer that needs no adapter (prompt lookup decoding). Knows no model: a draft is only ever a
proposal that the commit forward verifies.
"""

import numpy as np
import numpy.typing as npt

LONGEST_NGRAM = 4
SHORTEST_NGRAM = 2


def lookup_draft(tokens: npt.NDArray[np.int64], num_drafts: int) -> tuple[list[int], int]:
    """Up to `num_drafts` tokens that followed the latest earlier occurrence of the tail.

    The longest tail of `tokens`, 4 … 2 long, that occurs decides, and its length is returned, too;
    no occurrence gives no draft.
    """
    length = len(tokens)
    if num_drafts <= 0:
        return [], 0
    for size in range(min(LONGEST_NGRAM, length - 1), SHORTEST_NGRAM - 1, -1):
        tail = tokens[length - size :]
        # Candidates end before the tail does, so that something follows them.
        is_match = tokens[: length - size] == tail[0]
        for offset in range(1, size):
            is_match = is_match & (tokens[offset : length - size + offset] == tail[offset])
        starts = np.flatnonzero(is_match)
        if len(starts):
            follow = int(starts[-1]) + size
            return [int(token) for token in tokens[follow : follow + num_drafts]], size
    return [], 0
