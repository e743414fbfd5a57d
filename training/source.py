"""Records of shards in the endless order that a run draws them in. Knows no stage."""

from collections.abc import Collection

import torch

from training.data.shards import Shards
from training.stages import TrainingRecord


class ShardSource:
    """Shards, shuffled anew in each epoch by a counter (`training.data.shuffle`)."""

    def __init__(
        self,
        shards: Shards,
        special_ids: Collection[int],
        seed: int,
        vocabulary_size: int | None = None,
    ) -> None:
        self._shards = shards
        self._vocabulary_ids = None
        if vocabulary_size is not None:
            self._vocabulary_ids = torch.from_numpy(shards.frequent_ids(vocabulary_size))
        self._special_ids = torch.tensor(sorted(special_ids), dtype=torch.long)
        self._seed = seed

    def draw(self, index: int) -> TrainingRecord:
        """The record at a place of the order; the same place always gives the same record."""
        record = self._shards[self._shards.place(index, self._seed)]
        return TrainingRecord(
            torch.from_numpy(record.tokens.astype("int64")),
            record.target_start,
            self._special_ids,
            self._vocabulary_ids,
        )
