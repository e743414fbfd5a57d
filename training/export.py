"""Writes what training makes into the files that `model` reads. Knows no data and no loss."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import torch

from model.adapter import (
    Adapter,
    AdapterConfig,
    AdapterError,
    kind_of,
    load_adapter,
    load_early,
    load_update,
    save_adapter,
)
from model.config import ModelConfig
from model.weights import load_model, open_source


def init_adapter(model_path: Path, out: Path, *, rank: int, seed: int | None) -> None:
    """Write a fresh gated adapter for the model at `model_path`.

    It leaves the base unchanged (B = 0), unless `seed` is given: then B is random, so that the
    adapter drafts nonsense, which is what a test of mode `exact` needs.

    Raises:
        WeightsError: if the model cannot be loaded.
    """
    torch.manual_seed(0 if seed is None else seed)
    model = load_model(model_path, dtype=torch.float32, device=torch.device("cpu"))
    adapter = Adapter(model.config, AdapterConfig(rank=rank, alpha=2.0 * rank))
    adapter.start_mask_at(model.embedding.weight)
    if seed is not None:
        adapter.randomize()
    save_adapter(adapter, model.config, out)


def export_adapter(
    model_path: Path,
    adapter: Path,
    base_updates: Sequence[Path],
    out: Path,
    *,
    update_share: float = 1.0,
) -> None:
    """Write what a run made into one small file that `seed-lsp --adapter` takes.

    Args:
        model_path: the base, for its shapes only.
        adapter: file of a gated adapter.
        base_updates: file of the update of the base that it was trained over, or of an adapter that
            was trained over it, too, and brings it. Of several, runs that
            began with one another, the mean is taken: it often keeps what each has learnt (model
            soups, Wortsman et al. 2203.05482).
        out: file to write.
        update_share: how much of the update is added, in (0, 1]: weights between those of the base
            and the trained ones keep more of what the base could (WiSE-FT, Wortsman et al. 2022,
            equation 1).

    The map of rows that leave early goes along, from the first of these files that brings one, but
    only with the update that it was fitted to: a single one, added whole.

    Raises:
        WeightsError: if the model cannot be read.
        AdapterError: if an update cannot be read or does not fit, or for another share.
    """
    if not 0 < update_share <= 1:
        raise AdapterError(f"A share of {update_share:g} is none: it lies above 0, up to 1.")
    config = open_source(model_path).config
    update = _mean([_load_update(path, config) for path in base_updates])
    if update is not None:
        update.config = replace(update.config, alpha=update.config.alpha * update_share)
    found = [
        load_early(path, config) for path in (adapter, *base_updates) if kind_of(path) == "gated"
    ]
    early = next((one for one in found if one is not None), None)
    if len(base_updates) > 1 or update_share != 1:
        early = None  # it was fitted to another update
    save_adapter(
        load_adapter(adapter, config), config, out, update=update, early=early, is_int8=True
    )


def _load_update(path: Path, config: ModelConfig) -> Adapter:
    """The update of the base in a file of its own, or in that of an adapter trained over it."""
    if kind_of(path) == "merge":
        return load_adapter(path, config, "merge")
    update = load_update(path, config)
    if update is None:
        raise AdapterError(f"{path} brings no update of the base.")
    return update


def _mean(updates: Sequence[Adapter]) -> Adapter | None:
    """The mean of each parameter; None of none."""
    if not updates:
        return None
    first = updates[0]
    if any(other.config != first.config for other in updates):
        raise AdapterError("Updates of different ranks have no mean.")
    for parts in zip(*(update.parameters() for update in updates), strict=True):
        parts[0].data = torch.stack([part.data.float() for part in parts]).mean(0).to(parts[0])
    return first
