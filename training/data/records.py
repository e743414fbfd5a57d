"""From a file's text and a hole to the tokens of one record: context, middle, end.

The prompt is that of `model.format.prompt`, cut and healed as at inference (`sampler.context`): the
last word before the cursor is not in the context, the middle begins with it. Behind the middle is
`<|endoftext|>`: the base was trained to end a hole with it, and every engine stops there.
"""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from model.format.healing import split_word
from model.format.prompt import render, window
from model.format.tokenizer import Tokenizer
from model.format.vocabulary import FimTokens, Vocabulary
from training.data.holes import Hole, RecordKind, choose_holes

END = "<|endoftext|>"
MAX_TOKENS = 1_024
_MAX_TARGET = 320
"""Tokens that one hole may have; more no editor would offer at once."""
_OVERFILL = 1.1
"""Of the characters that should fit, tried first: what is too much is cut again."""
_PREFIX_SHARE = 2 / 3
"""Of the characters around a hole, as an editor sends them."""
_LAYOUTS = ("spm", "psm")
"""One half each."""


class RecordError(ValueError):
    """A vocabulary that records cannot be made with; one sentence for a person."""


@dataclass(frozen=True)
class Record:
    """One training sequence."""

    tokens: npt.NDArray[np.uint32]
    target_start: int
    """Index of the first token whose prediction is trained: the middle's first one, or 1."""
    kind: RecordKind


@dataclass(frozen=True)
class Made:
    """A record with what is only counted."""

    record: Record
    layout: str
    """`spm`, `psm`, or `plain` for text without a hole."""


def fingerprint(vocabulary: Vocabulary) -> str:
    """What tells one tokenizer from another, 16 hexadecimal digits."""
    digest = hashlib.sha256()
    for part in (vocabulary.tokens, vocabulary.merges, vocabulary.splits):
        digest.update(repr(part).encode("utf-8", "surrogatepass"))
    return digest.hexdigest()[:16]


class RecordMaker:
    """Makes records with one vocabulary.

    Raises:
        RecordError: if it has no tokens for a hole or for its end.
    """

    def __init__(self, vocabulary: Vocabulary, *, max_tokens: int = MAX_TOKENS) -> None:
        if vocabulary.fim is None or END not in vocabulary.tokens:
            raise RecordError(
                f"The model's vocabulary has no tokens for filling in the middle, or no {END}."
            )
        self.tokenizer = Tokenizer(vocabulary)
        self.fim: FimTokens = vocabulary.fim
        self._end_id = vocabulary.tokens.index(END)
        self._max_tokens = max_tokens

    def make(self, text: str, *, seed: int, name: str) -> Iterator[Made]:
        """The records of a file, so many that together they are about as long as it is.

        Args:
            text: the whole file.
            seed: which holes and layouts.
            name: package and path.
        """
        num_tokens = max(len(self.tokenizer.encode(text)), 1)
        num_holes = max(1, round(num_tokens / self._max_tokens))
        for number, hole in enumerate(
            choose_holes(text, num_holes=num_holes, seed=seed, name=name)
        ):
            if hole.kind == "file":
                yield Made(self._read(text, hole), "plain")
                continue
            digest = hashlib.sha256(f"{seed}\0{number}\0{name}".encode()).digest()
            layout = _LAYOUTS[digest[0] % len(_LAYOUTS)]
            made = self.fill(text, hole, layout, chars_per_token=len(text) / num_tokens)
            if made is not None:
                yield Made(made, layout)

    def fill(self, text: str, hole: Hole, layout: str, *, chars_per_token: float) -> Record | None:
        """The record of a hole; None if what was there is too long.

        Args:
            text: the whole file.
            hole: in it, of any kind but `file`.
            layout: of `model.format.prompt`.
            chars_per_token: about as many; a bad guess costs only time or context.

        Raises:
            ValueError: for an unknown layout.
        """
        middle = text[hole.start : hole.end]
        room = int(self._max_tokens * chars_per_token * _OVERFILL) - len(middle)
        while room > 0:
            cut = window(
                text[: hole.start],
                text[hole.end :],
                max_prefix_chars=int(room * _PREFIX_SHARE),
                max_suffix_chars=int(room * (1 - _PREFIX_SHARE)),
            )
            prefix_ids, healed = split_word(self.tokenizer, self.tokenizer.encode(cut.prefix))
            target = [*self.tokenizer.encode(healed + middle), self._end_id]
            if len(target) > _MAX_TARGET:
                break
            suffix_ids = self.tokenizer.encode(cut.suffix)
            context = render(layout, self.fim, prefix_ids, suffix_ids)
            if len(context) + len(target) <= self._max_tokens:
                tokens = np.array(context + target, dtype=np.uint32)
                return Record(tokens, len(context), hole.kind)
            room = room * 7 // 8
        return None

    def _read(self, text: str, hole: Hole) -> Record:
        """Text from a line on, with the end token if the file ends within the record."""
        # A token has a character at least, and seldom more than sixteen.
        text, most = text[hole.start :], self._max_tokens
        ids = self.tokenizer.encode(text[: 16 * most])
        if len(text) <= 16 * most:
            ids.append(self._end_id)
        return Record(np.array(ids[:most], dtype=np.uint32), 1, "file")
