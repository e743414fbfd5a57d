"""V, the verifier of on-policy learning: does the base agree with a draft, and is it sound code.

Knows neither trajectories nor losses.

Shape suffixes: N blocks, L slots of a block, V vocabulary.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import torch

from model.format.syntax import num_syntax_errors
from training.batch import Noisy
from training.recipes import Recipe, RecipeError
from training.stages.common import TrainingRecord
from training.stages.context import Context, block_size_of, num_slots_N


@dataclass(frozen=True)
class CodeRecord(TrainingRecord):
    """A record that can be read as code."""

    decode: Callable[[Iterable[int]], str] = str
    """Text of ids (`Tokenizer.decode`)."""
    language: str = "python"


@dataclass(frozen=True)
class Rewards:
    """What each draft is worth, and of what."""

    values: list[float]
    """V of each."""
    accepted: list[int]
    """Drafts of each, from the left, that are the base's own greedy text."""
    parses: list[bool]
    """Whether each leaves the text as sound as it was; empty if nobody asked."""


def judge(context: Context, drafts: Noisy, recipe: Recipe) -> Rewards:
    """V = agree_weight · share that the base would have written + syntax_weight · [sound].

    The share ends at the first token that is not the base's, as acceptance in mode `exact` does:
    whatever stands behind, a draft that repeats itself would agree with itself.

    Raises:
        RecipeError: if syntax has a weight and records cannot be read.
    """
    num_slots = block_size_of(drafts)
    ids_NL, num_N = drafts.ids_T.view(-1, num_slots), num_slots_N(drafts).tolist()
    accepted = _accepted(context, drafts)
    values = [
        recipe.agree_weight * count / max(num - 1, 1)
        for count, num in zip(accepted, num_N, strict=True)
    ]
    parses: list[bool] = []
    if recipe.syntax_weight > 0:
        first_N = drafts.position_T.view(-1, num_slots)[:, 0].tolist()
        record_N = drafts.record_T.view(-1, num_slots)[:, 0].tolist()
        readers = [_Reader(cut, recipe) for cut in context.cuts]
        for index, (record, start) in enumerate(zip(record_N, first_N, strict=True)):
            tokens = ids_NL[index, : num_N[index]].tolist()
            parses.append(readers[record].is_sound(start, tokens))
        values = [
            value + recipe.syntax_weight * sound
            for value, sound in zip(values, parses, strict=True)
        ]
    return Rewards(values, accepted, parses)


def _accepted(context: Context, drafts: Noisy) -> list[int]:
    num_slots = block_size_of(drafts)
    ids_NL, num_N = drafts.ids_T.view(-1, num_slots), num_slots_N(drafts)
    is_own_NL = ids_NL[:, 1:] == context.best(context.commit(drafts))[:, :-1]
    # Behind the end of a record nothing was drafted.
    is_own_NL &= torch.arange(1, num_slots, device=num_N.device) < num_N[:, None]
    counts: list[int] = is_own_NL.long().cumprod(1).sum(1).tolist()
    return counts


class _Reader:
    """The text of a record, with other tokens in the places of its own."""

    def __init__(self, record: TrainingRecord, recipe: Recipe) -> None:
        if not isinstance(record, CodeRecord):
            raise RecipeError(
                f"Recipe {recipe.name} rewards syntax, but its records cannot be read as code."
            )
        self._record = record
        self._ids = record.ids_S.tolist()
        self._special = frozenset(record.special_ids.tolist())

    def is_sound(self, start: int, tokens: Sequence[int]) -> bool:
        """Whether the text has no more syntax errors with these tokens from `start` on."""
        ids, end = self._ids, start + len(tokens)
        before = _from_last(ids[:start], self._special)
        after = _to_first(ids[end:], self._special)
        own = before + _to_first(ids[start:end] + after, self._special)
        return self._num_errors(before + _to_first(tokens, self._special) + after) <= (
            self._num_errors(own)
        )

    def _num_errors(self, ids: Sequence[int]) -> int:
        num_errors = num_syntax_errors(self._record.language, self._record.decode(ids))
        return 0 if num_errors is None else num_errors


def _from_last(ids: list[int], special: frozenset[int]) -> list[int]:
    """What stands behind the last special id."""
    place = next((i for i in reversed(range(len(ids))) if ids[i] in special), -1)
    return ids[place + 1 :]


def _to_first(ids: Sequence[int], special: frozenset[int]) -> list[int]:
    """What stands before the first special id."""
    place = next((i for i, id_ in enumerate(ids) if id_ in special), len(ids))
    return list(ids[:place])
