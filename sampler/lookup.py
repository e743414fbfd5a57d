"""Drafts copied from the context: what followed the text's tail where it stood before.

The proposer that needs no adapter (prompt lookup decoding). Knows no model: a draft is only ever a
proposal that the commit forward verifies.
"""

from dataclasses import dataclass
from enum import IntEnum

import numpy as np
import numpy.typing as npt

LONGEST_MATCH = 8
"""Tokens of the tail that are compared: longer matches are no surer."""


class Evidence(IntEnum):
    """What the places say that have the tail: different things, one place only, or all the same."""

    MIXED = 0
    SINGLE = 1
    AGREED = 2


@dataclass(frozen=True)
class Copied:
    """A token that has followed before."""

    token: int
    match_length: int
    """Tokens before it that are the same there as here, drafts before it included."""
    evidence: Evidence


def lookup_draft(tokens: npt.NDArray[np.int64], num_drafts: int) -> list[Copied]:
    """Up to `num_drafts` tokens that followed earlier occurrences of the longest tail that has any.

    Where these disagree the most frequent token counts, of equally frequent ones the latest; what
    follows it is looked up in the places that had it.
    """
    length = len(tokens)
    if length < 2:
        return []
    # Places are where a match ends; something follows each of them.
    places = np.flatnonzero(tokens[: length - 1] == tokens[length - 1])
    match_length = 1
    while match_length < LONGEST_MATCH:
        longer = places[places >= match_length]
        longer = longer[tokens[longer - match_length] == tokens[length - 1 - match_length]]
        if not len(longer):
            break
        places, match_length = longer, match_length + 1
    drafts: list[Copied] = []
    following = places + 1
    while len(drafts) < num_drafts and len(following):
        token, evidence = _choose(tokens[following])
        drafts.append(Copied(token, match_length + len(drafts), evidence))
        following = following[tokens[following] == token] + 1
        following = following[following < length]
    return drafts


def _choose(candidates: npt.NDArray[np.int64]) -> tuple[int, Evidence]:
    """Of the tokens at all places, in their order: the one to draft, and how sure it is."""
    latest = int(candidates[-1])
    if len(candidates) == 1:
        return latest, Evidence.SINGLE
    if (candidates == latest).all():
        return latest, Evidence.AGREED
    # Counted from the end: of equals argmax takes the first, which is the latest.
    _, last_places, counts = np.unique(candidates[::-1], return_index=True, return_counts=True)
    most = counts == counts.max()
    return int(candidates[::-1][last_places[most].min()]), Evidence.MIXED
