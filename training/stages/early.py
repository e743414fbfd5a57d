"""Stage `early`: what rows that only serve as context are in the upper layers, by a linear map.

The base is the teacher: it reads a record in full. Then rows behind a seam are read again, which
see in the upper layers what the map makes of the rows before the seam, and are to predict the same.
The map alone is trained (SwiftKV 2410.03960, section 3.2, trains the layers' projections instead).

Shape suffixes: S tokens of a record, R rows behind a seam, G key/value heads, K head dim, D width.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from model.early import EarlyKV
from model.network import Block, KVCache, Transformer, rotary_table, rotate
from training.loss import chunked_cross_entropy
from training.recipes import Recipe
from training.stages.common import StageLoss, TrainingRecord, cut_record, told

FEWEST_ROWS = 8
"""Before and behind a seam."""


@dataclass(frozen=True)
class Read:
    """A record as the base has read it."""

    ids_S: Tensor
    hidden_SD: Tensor
    """What predicts the token behind each token."""
    cache: KVCache
    normed_SD: Tensor
    """What the layer gets where rows leave."""
    cos_SK: Tensor
    sin_SK: Tensor


@torch.no_grad()
def read_in_full(model: Transformer, ids_S: Tensor, layer: int) -> Read:
    """Read a record with all layers; `layer` is where rows would leave."""
    weight = model.embedding.weight
    ids_S = ids_S.to(weight.device)
    cache = KVCache.allocate(model.config, len(ids_S), dtype=weight.dtype, device=weight.device)
    seen: list[Tensor] = []
    block = model.blocks[layer]
    assert isinstance(block, Block)
    hook = block.attention_norm.register_forward_hook(
        lambda _module, _inputs, output: seen.append(output)
    )
    try:
        hidden_BSD = model.hidden(ids_S[None], cache=cache)
    finally:
        hook.remove()
    cos_SK, sin_SK = rotary_table(model.config, weight.device, torch.float32)
    tables = (cos_SK[: len(ids_S)], sin_SK[: len(ids_S)])
    return Read(ids_S, hidden_BSD[0], cache, seen[0][0], *tables)


def read_behind(model: Transformer, early: EarlyKV, read: Read, seam: int, end: int) -> Tensor:
    """States (R, D) of the rows from `seam` to `end`, behind rows of which all but the first left
    early. What `early` makes has a gradient."""
    keys, values = ([t[:, :, :seam] for t in part] for part in (read.cache.keys, read.cache.values))
    made = early(read.normed_SD[None, :seam])
    for layer, (k_BGSK, v_BGSK) in enumerate(made, start=early.layer):
        k_BGSK = rotate(k_BGSK.float(), read.cos_SK[:seam], read.sin_SK[:seam])
        keys[layer] = torch.cat([keys[layer][:, :, :1], k_BGSK[:, :, 1:].to(keys[layer])], dim=2)
        values[layer] = torch.cat([values[layer][:, :, :1], v_BGSK[:, :, 1:]], dim=2)
    hidden_BRD = model.hidden(
        read.ids_S[None, seam:end], cache=KVCache(keys, values), start=seam, keeps_kv=False
    )
    return hidden_BRD[0]


def early(
    model: Transformer,
    records: Sequence[TrainingRecord],
    recipe: Recipe,
    step: int,
    generator: torch.Generator,
) -> StageLoss:
    """Forward KL of the rows behind a few seams to what they say where all rows are read in full.

    One seam is where the completion begins, the others are drawn: rows behind them look back upon
    other distances, and reading the record once serves them all.
    """
    assert model.early is not None
    results = []
    for record in records:
        cut = cut_record(record, recipe)
        num_tokens = len(cut.ids_S)
        if num_tokens <= 2 * FEWEST_ROWS:
            continue
        read = read_in_full(model, cut.ids_S, model.early.layer)
        latest = num_tokens - FEWEST_ROWS
        drawn = torch.randint(FEWEST_ROWS, latest, (recipe.seams - 1,), generator=generator)
        first = min(max(cut.target_start - 1, FEWEST_ROWS), latest)
        for seam in sorted({first, *drawn.tolist()}):
            end = min(seam + recipe.rows_per_seam, num_tokens - 1)
            results.append(
                chunked_cross_entropy(
                    read_behind(model, model.early, read, seam, end),
                    model.head.weight,
                    read.ids_S[seam + 1 : end + 1],
                    torch.ones(end - seam, device=read.ids_S.device),
                    teacher_hidden_RD=read.hidden_SD[seam:end],
                    kl_weight=1.0,
                    vocabulary_ids=cut.vocabulary_ids,
                    normalizer=float(recipe.seams * recipe.rows_per_seam * len(records)),
                )
            )
    if not results:
        return StageLoss(torch.zeros(()), {})
    parts = [told(result) for result in results]
    sums = {name: sum(part.figures[name] for part in parts) for name in parts[0].figures}
    return StageLoss(torch.stack([part.loss for part in parts]).sum(), sums)
