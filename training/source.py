"""Records of shards in the endless order that a run draws them in. Knows no loss."""

from collections.abc import Callable, Collection, Iterable
from dataclasses import fields
from typing import Any

import torch
from torch import Tensor

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
        long: Shards | None = None,
        decode: Callable[[Iterable[int]], str] | None = None,
    ) -> None:
        """Choose what is drawn.

        Args:
            shards: the records; at least one.
            special_ids: ids that are no text.
            seed: of the order.
            vocabulary_size: ids that a trimmed vocabulary keeps; None: all.
            edits: edits to draw at every other place.
            long: records with long holes to draw at every other place; not beside edits.
            decode: text of ids; with it, records can be read as code.
        """
        assert edits is None or long is None, "every other place is taken"
        self._shards, self._edits, self._long, self._decode = shards, edits, long, decode
        self._seed = seed
        self._shared: dict[str, Any] = {
            "special_ids": torch.tensor(sorted(special_ids), dtype=torch.long)
        }
        if vocabulary_size is not None:
            ids = shards.frequent_ids(vocabulary_size)
            self._shared["vocabulary_ids"] = torch.from_numpy(ids)

    def draw(self, index: int) -> TrainingRecord:
        """The record at a place of the order; the same place always gives the same record."""
        if self._edits is not None and index % 2:
            edit = self._edits[self._edits.place(index // 2, self._seed)]
            ids_S = _as_ids(edit.tokens)
            return PairRecord(
                ids_S=ids_S,
                target_start=edit.target_start,
                old_ids=ids_S[edit.old_start : edit.old_end],
                **self._shared,
            )
        shards = self._long if self._long is not None and index % 2 else self._shards
        is_shared = self._edits is not None or self._long is not None
        place = index // 2 if is_shared else index
        stored = shards[shards.place(place, self._seed)]
        record = TrainingRecord(_as_ids(stored.tokens), stored.target_start, **self._shared)
        if self._decode is None:
            return record
        own = {field.name: getattr(record, field.name) for field in fields(TrainingRecord)}
        return CodeRecord(**own, decode=self._decode)


def _as_ids(tokens: Any) -> Tensor:
    return torch.from_numpy(tokens.astype("int64"))


def long_holes(recipe: Recipe, shards: Shards) -> Shards | None:
    """Records for every other place of stage `fim`; None where the recipe or the data has none."""
    if not recipe.long_hole:
        return None
    long = shards.holes(recipe.max_tokens, min_target=recipe.long_hole)
    return long if len(long) else None
