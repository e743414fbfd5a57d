"""Token healing: which tokens may come next if the text must go on in a given way.

A cursor seldom stands at a token boundary: behind `ret` or behind the blanks of an indentation the
model was trained to see another last token (`return`, one blank less). So the prompt ends one token
early, and the first generated tokens must spell that token's text again, in whatever tokens the
model prefers. Knows no model and no cache.
"""

from bisect import bisect_left

import numpy as np
import numpy.typing as npt

from model.format.tokenizer import Tokenizer
from model.format.vocabulary import Vocabulary


class Continuations:
    """All ordinary tokens of a vocabulary, sorted by the bytes that they spell."""

    def __init__(self, vocabulary: Vocabulary, tokenizer: Tokenizer) -> None:
        ordinary = [
            (tokenizer.decode_bytes([token_id]), token_id)
            for token_id, token in enumerate(vocabulary.tokens)
            if token and token_id not in vocabulary.special_ids
        ]
        ordinary.sort()
        self._tokenizer = tokenizer
        self._spellings = [spelling for spelling, _ in ordinary]
        self._ids = np.array([token_id for _, token_id in ordinary], dtype=np.int64)

    def spelling(self, token_id: int) -> bytes:
        """Bytes of one token."""
        return self._tokenizer.decode_bytes([token_id])

    def of(self, required: bytes) -> npt.NDArray[np.int64]:
        """Ids of the tokens that start with `required`, or that `required` starts with."""
        begin = bisect_left(self._spellings, required)
        end = bisect_left(self._spellings, required + b"\xff" * 64)
        shorter = []
        for length in range(1, len(required)):
            place = bisect_left(self._spellings, required[:length])
            if place < len(self._spellings) and self._spellings[place] == required[:length]:
                shorter.append(self._ids[place])
        return np.concatenate([self._ids[begin:end], np.array(shorter, dtype=np.int64)])


def split_last(tokenizer: Tokenizer, prefix_ids: list[int]) -> tuple[list[int], str]:
    """The prefix without its last token, and that token's text, which must be spelled again.

    Nothing is taken off at the end of a line, where the boundary is real, nor where the last token
    is a part of a character.
    """
    if not prefix_ids:
        return prefix_ids, ""
    try:
        text = tokenizer.decode_bytes(prefix_ids[-1:]).decode()
    except UnicodeDecodeError:
        return prefix_ids, ""
    if text.endswith(("\n", "\r")):
        return prefix_ids, ""
    return prefix_ids[:-1], text
