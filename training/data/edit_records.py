"""From an edit to the tokens of one record: a question with the old code, then the new code.

The prompt is `model.format.prompt.render_chat`, the question that of `rewriting.edit_question`:
context first, then the old code, the words behind it, as an editor asks first; one in
`_WISH_FIRST_SHARE` has the words in front, as it asks again. The answer is the new code and the
fence that ends it, at which evaluation stops. A record says where its old code lies: a canvas can
begin as a copy of it.
"""

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice

import numpy as np
import numpy.typing as npt

from model.format.prompt import FENCE, render_chat, window
from model.format.rewriting import edit_question
from model.format.tokenizer import Tokenizer
from model.format.vocabulary import ChatTokens, Vocabulary
from training.data.edits import Edit, EditKind
from training.data.hunks import NEUTRAL, release_edits
from training.data.pairs import choose_edits
from training.data.records import MAX_TOKENS, RecordError

_LANGUAGE = "python"
_CHARS_PER_EDIT = 6_000
"""Of a file, so that its edits have about half as many tokens as it has."""
_MAX_RELEASE_EDITS = 4
"""Of one file."""
_CONTEXT_CHARS = (0, 800, 2_400)
"""Around the old code, each as likely as another: a selection may come alone."""
_PREFIX_SHARE = 2 / 3
_WISH_FIRST_SHARE = 0.2


@dataclass(frozen=True)
class EditRecord:
    """One training sequence: question with the old code, new code, end."""

    tokens: npt.NDArray[np.uint32]
    target_start: int
    """Index of the first token of the new code."""
    kind: EditKind
    old_start: int
    """Index of the first token of the old code in the question."""
    old_end: int
    """Behind its last token."""


class EditRecordMaker:
    """Makes edit records with one vocabulary.

    Raises:
        RecordError: if it has no tokens for a conversation.
    """

    def __init__(self, vocabulary: Vocabulary, *, max_tokens: int = MAX_TOKENS) -> None:
        if vocabulary.chat is None:
            raise RecordError("The model's vocabulary has no tokens for a conversation.")
        self.tokenizer = Tokenizer(vocabulary)
        self._chat: ChatTokens = vocabulary.chat
        self._end = [*self.tokenizer.encode(FENCE), self._chat.end]
        self._max_tokens = max_tokens

    def make(self, text: str, older: str | None, *, seed: int, name: str) -> Iterator[EditRecord]:
        """The edit records of a file.

        Args:
            text: the whole file.
            older: the same file in an older release, if there is one.
            seed: which edits.
            name: package and path.
        """
        draw = random.Random(f"{seed}\0context\0{name}").random
        num_edits = max(1, len(text) // _CHARS_PER_EDIT)
        edits = list(choose_edits(text, num_edits=num_edits, seed=seed, name=name))
        if older is not None:
            # Those whose words say what to do come first.
            changes = sorted(release_edits(older, text), key=lambda it: it.instruction == NEUTRAL)
            edits += islice(changes, _MAX_RELEASE_EDITS)
        for edit in edits:
            context_chars = _CONTEXT_CHARS[int(draw() * len(_CONTEXT_CHARS))]
            is_wish_first = draw() < _WISH_FIRST_SHARE
            record = self.lay_out(edit, context_chars=context_chars, is_wish_first=is_wish_first)
            if record is not None:
                yield record

    def lay_out(
        self, edit: Edit, *, context_chars: int, is_wish_first: bool = False
    ) -> EditRecord | None:
        """The record of an edit; None if it is too long even without context.

        Args:
            edit: a sound one.
            context_chars: of the text around it, at most.
            is_wish_first: whether the words stand in front of the old code.
        """
        encode = self.tokenizer.encode
        old_ids, target = encode(edit.old), [*encode(edit.new), *self._end]
        while True:
            cut = window(
                edit.before,
                edit.after,
                max_prefix_chars=int(context_chars * _PREFIX_SHARE),
                max_suffix_chars=int(context_chars * (1 - _PREFIX_SHARE)),
            )
            before, after = ("" if FENCE in text else text for text in (cut.prefix, cut.suffix))
            question = edit_question(
                edit.instruction,
                edit.old,
                before=before,
                after=after,
                is_wish_first=is_wish_first,
            )
            prompt = render_chat(self._chat, encode, question, language=_LANGUAGE)
            if len(prompt) + len(target) <= self._max_tokens:
                break
            if not context_chars:
                return None
            context_chars = context_chars // 2 if context_chars > 200 else 0
        old_start = _last_place(old_ids, prompt)
        if old_start is None:  # in a vocabulary with tokens that span a line break and a fence
            return None
        return EditRecord(
            np.array(prompt + target, dtype=np.uint32),
            len(prompt),
            edit.kind,
            old_start,
            old_start + len(old_ids),
        )


def _last_place(part: Sequence[int], whole: Sequence[int]) -> int | None:
    """Where a part begins in a whole for the last time."""
    starts = range(len(whole) - len(part), -1, -1)
    return next((at for at in starts if list(whole[at : at + len(part)]) == list(part)), None)
