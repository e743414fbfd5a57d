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

MAX_HEALED = 5
"""Tokens that are chosen again at most; as many are recomputed with each keystroke."""


class Continuations:
    """All ordinary tokens of a vocabulary, sorted by the bytes that they spell."""

    def __init__(self, vocabulary: Vocabulary, tokenizer: Tokenizer) -> None:
        self._tokenizer = tokenizer
        ordinary = [
            token_id
            for token_id, token in enumerate(vocabulary.tokens)
            if token and token_id not in vocabulary.special_ids
        ]
        # The order alone is kept: spellings of all tokens are ten megabytes, a search asks for few.
        self._ids = np.array(sorted(ordinary, key=self.spelling), dtype=np.int64)

    def spelling(self, token_id: int) -> bytes:
        """Bytes of one token."""
        return self._tokenizer.decode_bytes([token_id])

    def of(self, required: bytes) -> npt.NDArray[np.int64]:
        """Ids of the tokens that start with `required`, or that `required` starts with."""
        begin, end = self._place(required), self._place(required + b"\xff" * 64)
        shorter = []
        for length in range(1, len(required)):
            place = self._place(required[:length])
            if place < len(self._ids) and self.spelling(self._ids[place]) == required[:length]:
                shorter.append(self._ids[place])
        return np.concatenate([self._ids[begin:end], np.array(shorter, dtype=np.int64)])

    def _place(self, spelling: bytes) -> int:
        """Of the first token that is not before a spelling."""
        return bisect_left(self._ids, spelling, key=self.spelling)


def split_word(tokenizer: Tokenizer, prefix_ids: list[int]) -> tuple[list[int], str]:
    """The prefix without its last word or blanks, and the text of that, to be spelled again.

    A word is taken off to its beginning, at most `MAX_HEALED` tokens of it: ` enu` is ` en`, `u`,
    but ` enumerate` is one token. Nothing is taken off at the end of a line, where the boundary is
    real, nor where it would split a character.
    """
    num_left, text = len(prefix_ids), ""
    while num_left > 0 and len(prefix_ids) - num_left < MAX_HEALED:
        try:
            token = tokenizer.decode_bytes([prefix_ids[num_left - 1]]).decode()
        except UnicodeDecodeError:
            break
        is_new_word = bool(text) and not (_is_word(text[0]) and _is_word(token[-1:]))
        if is_new_word or token.endswith(("\n", "\r")):
            break
        text = token + text
        num_left -= 1
    return prefix_ids[:num_left], text


def _is_word(character: str) -> bool:
    return character.isalnum() or character == "_"
