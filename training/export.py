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
    save_adapter,
)
from model.config import ModelConfig
from model.weights import load_model, open_source
from training.base_update import load_base_update


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
    early: Path | None = None,
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

        early: file whose map of rows that leave early goes along, although it was fitted to another
            update. By default it is that of the first of these files that brings one, but only
            with the update that it was fitted to: a single one, added whole.

    Raises:
        WeightsError: if the model cannot be read.
        AdapterError: if a file cannot be read, does not fit or lacks what is to be taken from it,
            or for another share.
    """
    if not 0 < update_share <= 1:
        raise AdapterError(f"A share of {update_share:g} is none: it lies above 0, up to 1.")
    config = open_source(model_path).config
    update = _mean(base_updates, config)
    if update is not None:
        update.config = replace(update.config, alpha=update.config.alpha * update_share)
    is_fitted = len(base_updates) <= 1 and update_share == 1
    sources = [early] if early is not None else [adapter, *base_updates] if is_fitted else []
    found = [load_early(path, config) for path in sources if kind_of(path) == "gated"]
    map_of_rows = next((one for one in found if one is not None), None)
    if early is not None and map_of_rows is None:
        raise AdapterError(f"{early} brings no map of rows that leave early.")
    save_adapter(
        load_adapter(adapter, config), config, out, update=update, early=map_of_rows, is_int8=True
    )


def _mean(paths: Sequence[Path], config: ModelConfig) -> Adapter | None:
    """The mean of each parameter of the updates in these files; None of none."""
    if not paths:
        return None
    first = load_base_update(paths[0], config)
    updates = [first, *(load_base_update(path, config, first.config.alpha) for path in paths[1:])]
    if any(other.config != first.config for other in updates):
        raise AdapterError("Updates of different ranks have no mean.")
    for parts in zip(*(update.parameters() for update in updates), strict=True):
        parts[0].data = torch.stack([part.data.float() for part in parts]).mean(0).to(parts[0])
    return first
