"""Drafts copied from the context: what followed the text's tail where it stood before.

The proposer that needs no adapter (prompt lookup decoding). Knows no model: a draft is only ever a
proposal that the commit forward verifies.
"""

from collections import Counter
from collections.abc import Iterator
from enum import IntEnum
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

LONGEST_MATCH = 8
"""Tokens of the tail that are compared: longer matches are no surer."""


class Evidence(IntEnum):
    """What the places say that have the tail: different things, one place only, or all the same."""

    MIXED = 0
    SINGLE = 1
    AGREED = 2


class Copied(NamedTuple):
    """A token that has followed before."""

    token: int
    match_length: int
    """Tokens before it that are the same there as here, drafts before it included."""
    evidence: Evidence


def lookup_draft(tokens: npt.NDArray[np.int64], num_drafts: int) -> Iterator[Copied]:
    """Up to `num_drafts` tokens that followed earlier occurrences of the longest tail that has any.

    Where these disagree the most frequent token counts, of equally frequent ones the latest; what
    follows it is looked up in the places that had it. Each is looked up when it is asked for.
    """
    length = len(tokens)
    if length < 2:
        return
    # Places are where a match ends; something follows each of them.
    places = np.flatnonzero(tokens[: length - 1] == tokens[length - 1])
    match_length = 1
    while match_length < LONGEST_MATCH:
        longer = places[places >= match_length]
        longer = longer[tokens[longer - match_length] == tokens[length - 1 - match_length]]
        if not len(longer):
            break
        places, match_length = longer, match_length + 1
    following = (places + 1).tolist()
    for place in range(num_drafts):
        following = [at for at in following if at < length]
        if not following:
            return
        candidates = tokens[following].tolist()
        token, evidence = _choose(candidates)
        yield Copied(token, match_length + place, evidence)
        following = [
            at + 1
            for at, candidate in zip(following, candidates, strict=True)
            if candidate == token
        ]


def _choose(candidates: list[int]) -> tuple[int, Evidence]:
    """Of the tokens at all places, in their order: the one to draft, and how sure it is."""
    latest = candidates[-1]
    if len(candidates) == 1:
        return latest, Evidence.SINGLE
    counts = Counter(reversed(candidates))
    if len(counts) == 1:
        return latest, Evidence.AGREED
    # Of equals it is the one met first, which is the latest.
    return counts.most_common(1)[0][0], Evidence.MIXED
