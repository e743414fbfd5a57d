"""What recipe `early` trains: the map of rows that leave early, first fitted, then steered.

The fit is least squares: of what the layer gets, what the base makes in all layers above. Training
then changes the map along directions in which what the layer gets varies alike, by steps as large
as the fit's errors; in the numbers as they are, one learning rate would suit none of them.

Shape suffixes: N outputs of the map, S tokens, F inputs of the map and a one, D width.
"""

from collections.abc import Iterable
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from model.adapter import load_adapter, load_update, save_adapter
from model.early import EarlyKV
from model.network import Block, Transformer, rotate
from training.beside_base import BesideBase
from training.distributed import World
from training.recipes import Recipe, RecipeError
from training.stages.early import Read, read_in_full

RIDGE = 1e-4
"""Of the fit, as a share of the inputs' mean square."""
SMALLEST_DIRECTION = 0.05
"""Variance that is added to that of each direction, as a share of their mean: directions in which
next to nothing varies are not made as long as the others."""


class SteeredEarly(EarlyKV):
    """A map that is fitted, and a change of it that is trained."""

    directions_FF: Tensor
    steps_N: Tensor

    def __init__(self, model: Transformer, layer: int) -> None:
        """A map of zeros for the layers of `model`."""
        super().__init__(model.config, layer)
        self.requires_grad_(False)
        num_outputs, width = self.weight.shape
        self.register_buffer("directions_FF", torch.zeros(width + 1, width + 1))
        self.register_buffer("steps_N", torch.zeros(num_outputs))
        self.change = nn.Parameter(torch.zeros(num_outputs, width + 1))

    def steered(self) -> tuple[Tensor, Tensor]:
        """Weight and bias with the change."""
        change_NF = (self.change * self.steps_N[:, None]) @ self.directions_FF.T
        return self.weight + change_NF[:, :-1], self.bias + change_NF[:, -1]

    def forward(self, normed_BTD: Tensor) -> list[tuple[Tensor, Tensor]]:
        """As that of `EarlyKV`, steered."""
        return self.apply_map(normed_BTD, *self.steered())

    @torch.no_grad()
    def finished(self, model: Transformer) -> EarlyKV:
        """The map as it is now."""
        early = EarlyKV(model.config, self.layer)
        early.weight.data, early.bias.data = self.steered()
        return early

    @torch.no_grad()
    def fit(self, model: Transformer, records: Iterable[Tensor]) -> None:
        """Least squares over the tokens (1-D int64 each) of some records.

        The layer's own keys and values are those of its own matrix.
        """
        num_outputs, width = self.weight.shape
        squares_FF = torch.zeros(width + 1, width + 1, dtype=torch.float64)
        products_FN = torch.zeros(width + 1, num_outputs, dtype=torch.float64)
        powers_N = torch.zeros(num_outputs, dtype=torch.float64)
        num_rows = 0
        for ids_S in records:
            read = read_in_full(model, ids_S, self.layer)
            normed_SF = F.pad(read.normed_SD[1:].double().cpu(), (0, 1), value=1.0)
            made_SN = _made(read, self.layer)[1:].double().cpu()
            squares_FF += normed_SF.T @ normed_SF
            products_FN += normed_SF.T @ made_SN
            powers_N += made_SN.square().sum(0)
            num_rows += len(normed_SF)
        ridge = RIDGE * squares_FF.diagonal().mean() * torch.eye(width + 1, dtype=torch.float64)
        map_FN = torch.linalg.solve(squares_FF + ridge, products_FN)
        explained_N = (map_FN * (2 * products_FN - squares_FF @ map_FN)).sum(0)
        self.steps_N.copy_(((powers_N - explained_N).clamp_min(0) / num_rows).sqrt())
        variances_F, vectors_FF = torch.linalg.eigh(squares_FF / num_rows)
        least = SMALLEST_DIRECTION * variances_F.mean()
        self.directions_FF.copy_(vectors_FF / (variances_F.clamp_min(0) + least).sqrt())
        self.weight.copy_(map_FN[:-1].T)
        self.bias.copy_(map_FN[-1])
        block = model.blocks[self.layer]
        assert isinstance(block, Block)
        attention = block.attention
        assert isinstance(attention.qkv, nn.Linear)
        num_own = sum(attention.widths[1:])
        self.weight[:num_own] = attention.qkv.weight[-num_own:].float()
        self.steps_N[:num_own] = 0.0
        self.bias[:num_own] = 0.0 if attention.qkv.bias is None else attention.qkv.bias[-num_own:]


def _made(read: Read, layer: int) -> Tensor:
    """Keys, before their rotation, and values of all layers from `layer` on, (S, N)."""
    parts = []
    for k_BGSK, v_BGSK in zip(read.cache.keys[layer:], read.cache.values[layer:], strict=True):
        plain_BGSK = rotate(k_BGSK.float(), read.cos_SK, -read.sin_SK)
        parts += [part[0].transpose(0, 1).flatten(1) for part in (plain_BGSK, v_BGSK.float())]
    return torch.cat(parts, dim=1)


class EarlyTrained(BesideBase):
    """The map on a model."""

    def __init__(
        self,
        model: Transformer,
        recipe: Recipe,
        world: World,
        start: Path | None,
        records: Iterable[Tensor],
    ):
        """Attach a map of zeros to the model.

        Args:
            model: the base with its update.
            recipe: what to do.
            world: the processes that train together.
            start: adapter whose update that is.
            records: tokens that the map is fitted to where there is no checkpoint.

        Raises:
            RecipeError: without an adapter, or if the model has no such layer.
        """
        if start is None:
            raise RecipeError(f"Recipe {recipe.name} begins with an adapter: give --start.")
        model.requires_grad_(False)
        try:
            self._early = SteeredEarly(model, recipe.early_layer).to(model.embedding.weight.device)
        except ValueError as error:
            raise RecipeError(f"Recipe {recipe.name}: {error}") from error
        self._model, self._start, self._records = model, start, records
        model.early = self._early
        fixed = {
            name: tensor for name, tensor in self._early.state_dict().items() if name != "change"
        }
        super().__init__("early", {"change": self._early.change}, world, fixed)

    def restore(self, folder: Path, optimizer: torch.optim.Optimizer) -> int:
        """Put the last checkpoint's state in place, or fit the map; returns the steps done."""
        step = super().restore(folder, optimizer)
        if step == 0:
            self._early.fit(self._model, self._records)
        return step

    def export(self, folder: Path) -> Path:
        """Write `adapter.safetensors`, the adapter with the map, as a whole or not at all."""
        path = folder / "adapter.safetensors"
        if self._world.is_first:
            config, part = self._model.config, path.with_suffix(".part")
            save_adapter(
                load_adapter(self._start, config),
                config,
                part,
                update=load_update(self._start, config),
                early=self._early.finished(self._model),
            )
            part.replace(path)
        return path
