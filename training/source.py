"""Records of shards in the endless order that a run draws them in. Knows no loss."""

from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import fields
from typing import Any

import torch
from torch import Tensor

from training.data.edit_records import EditRecord
from training.data.holes import RecordKind
from training.data.shards import EditShards, Shards
from training.recipes import Recipe
from training.stages import TrainingRecord
from training.stages.edit import PairRecord
from training.stages.reward import CodeRecord


class ShardSource:
    """Shards, shuffled anew in each epoch by a counter (`training.data.shuffle`)."""

    def __init__(
        self,
        shards: Shards,
        special_ids: Collection[int],
        seed: int,
        vocabulary_size: int | None = None,
        *,
        edits: EditShards | None = None,
        num_edits: int = 1,
        runs: Sequence[Shards] = (),
        own: Shards | None = None,
        decode: Callable[[Iterable[int]], str] | None = None,
    ) -> None:
        """Choose what is drawn.

        Args:
            shards: the records; at least one.
            special_ids: ids that are no text.
            seed: of the order.
            vocabulary_size: ids that a trimmed vocabulary keeps; None: all.
            edits: edits to draw in turn with the records.
            num_edits: how many of them behind each record, or each pair of records where there are
                runs.
            runs: records of lines that follow one another, to draw in turn with the records; of
                several kinds in turn with each other, too.
            own: records whose completion the model wrote, to draw in turn with the others.
            decode: text of ids; with it, records can be read as code.
        """
        self._own = own
        self._turns: list[Shards | EditShards] = []
        for lines in runs or (None,):
            turns = (shards, lines, own, *[edits] * num_edits)
            self._turns += [turn for turn in turns if turn is not None]
        self._seed, self._decode = seed, decode
        self._shared: dict[str, Any] = {
            "special_ids": torch.tensor(sorted(special_ids), dtype=torch.long)
        }
        if vocabulary_size is not None:
            ids = shards.frequent_ids(vocabulary_size)
            self._shared["vocabulary_ids"] = torch.from_numpy(ids)

    def draw(self, index: int) -> TrainingRecord:
        """The record at a place of the order; the same place always gives the same record."""
        round_, turn = divmod(index, len(self._turns))
        shards = self._turns[turn]
        same = [other is shards for other in self._turns]
        place = round_ * sum(same) + sum(same[:turn])
        stored = shards[shards.place(place, self._seed)]
        ids_S = _as_ids(stored.tokens)
        if isinstance(stored, EditRecord):
            old_ids = ids_S[stored.old_start : stored.old_end]
            return PairRecord(ids_S, stored.target_start, **self._shared, old_ids=old_ids)
        record = TrainingRecord(
            ids_S, stored.target_start, **self._shared, is_own=shards is self._own
        )
        if self._decode is None:
            return record
        own = {field.name: getattr(record, field.name) for field in fields(TrainingRecord)}
        return CodeRecord(**own, decode=self._decode)


def _as_ids(tokens: Any) -> Tensor:
    return torch.from_numpy(tokens.astype("int64"))


def short_edits(recipe: Recipe, edits: EditShards) -> EditShards | None:
    """Edits for the turns of stage `fim`; None where the recipe or the data has none."""
    if not recipe.num_edits:
        return None
    # What changed from one release to the next, the words mostly do not tell.
    short = edits.within(recipe.max_edit_tokens).without("release")
    return short if len(short) else None


def runs_of_lines(recipe: Recipe, shards: Shards) -> tuple[Shards, ...]:
    """Records for every other place of stage `fim`: runs of lines and, in turn with them,
    enumerations, each where the recipe and the data have any.
    """
    kinds: tuple[tuple[RecordKind, int], ...] = (
        ("run", recipe.min_run),
        ("enumeration", recipe.min_enumeration),
    )
    found = (
        shards.holes(recipe.max_tokens, kind, min_target=least) for kind, least in kinds if least
    )
    return tuple(each for each in found if len(each))
