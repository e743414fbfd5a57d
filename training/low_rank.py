"""What most runs train: a low-rank update of a frozen base.

Each process holds the whole base and the whole update; their gradients are summed once a step. The
frozen weights are neither sharded nor synchronized: they never change, their bf16 is small beside
what a GPU has (1 GB of 0.5 B weights, 14 GB of 7 B), and a forward that waits for no other process
may have any shape. Knows neither stages nor the order of records.
"""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from model.adapter import Adapter, AdapterConfig, load_adapter, save_adapter
from model.network import Transformer
from training.checkpoint import Checkpoint, load_checkpoint, save_checkpoint
from training.distributed import World
from training.recipes import Recipe, RecipeError


class LowRankTrained:
    """An adapter on a model; the first process writes its checkpoints, all of them read them."""

    gradient_scale = 1.0
    needs_all = False

    def __init__(self, model: Transformer, recipe: Recipe, world: World, start: Path | None):
        """Attach a fresh adapter to the model, or one of another run.

        Raises:
            RecipeError: if the adapter to begin with has another rank than the recipe.
            AdapterError: if it does not fit the model.
        """
        model.requires_grad_(False)
        self._model, self._recipe, self._world = model, recipe, world
        block_size = max(recipe.block_sizes, default=None)
        config = AdapterConfig(recipe.rank, recipe.alpha, block_size, recipe.coupling_rank)
        found = None if start is None else load_adapter(start, model.config, recipe.kind)
        if found is not None and found.config.coupling_rank:  # a recipe without one keeps it
            config = replace(config, coupling_rank=found.config.coupling_rank)
        adapter = Adapter(model.config, config)
        adapter.start_mask_at(model.embedding.weight)
        if found is not None:
            if (found.config.rank, found.config.alpha) != (recipe.rank, recipe.alpha):
                raise RecipeError(
                    f"{start} has rank {found.config.rank} and alpha {found.config.alpha:g}, "
                    f"recipe {recipe.name} has {recipe.rank} and {recipe.alpha:g}."
                )
            if recipe.coupling_rank not in (0, config.coupling_rank):
                raise RecipeError(
                    f"{start} has a coupling of rank {config.coupling_rank}, recipe "
                    f"{recipe.name} one of {recipe.coupling_rank}."
                )
            # A coupling that it does not have yet stays a fresh one.
            adapter.load_state_dict(adapter.state_dict() | found.state_dict())
        self._adapter = adapter.to(model.embedding.weight.device)
        model.adapter = self._adapter
        # The embedding of MASK is nothing to a stage without masks, nor the coupling to one whose
        # loss does not ask for it.
        named = {
            name: parameter
            for name, parameter in self._adapter.named_parameters()
            if (recipe.kind == "gated" or name != "mask_embedding")
            and (recipe.coupling_rank or not name.startswith("coupling."))
        }
        self._names, self.parameters = list(named), list[Tensor](named.values())

    def begin_forward(self, is_last: bool) -> None:
        """Nothing is prepared: gradients pile up in each process."""

    def sum_gradients(self) -> None:
        """Add up what the processes have found."""
        self._world.sum_gradients(self.parameters)

    def save(
        self,
        folder: Path,
        step: int,
        optimizer: torch.optim.Optimizer,
        values: Mapping[str, Any],
    ) -> None:
        """Write a checkpoint."""
        if not self._world.is_first:
            return
        tensors = {}
        for name, parameter in zip(self._names, self.parameters, strict=True):
            state: Mapping[str, Any] = optimizer.state[parameter]
            tensors[f"adapter.{name}"] = parameter
            tensors[f"average.{name}"] = state["exp_avg"]
            tensors[f"square.{name}"] = state["exp_avg_sq"]
        save_checkpoint(folder, Checkpoint(step, tensors, values))

    def restore(self, folder: Path, optimizer: torch.optim.Optimizer) -> int:
        """Put the last checkpoint's state in place; returns the steps done, 0 without one."""
        checkpoint = load_checkpoint(folder)
        if checkpoint is None:
            return 0
        for name, parameter in zip(self._names, self.parameters, strict=True):
            tensors = checkpoint.tensors
            parameter.data.copy_(tensors[f"adapter.{name}"])
            optimizer.state[parameter] = {
                "step": torch.tensor(float(checkpoint.step)),
                "exp_avg": tensors[f"average.{name}"].to(parameter.device),
                "exp_avg_sq": tensors[f"square.{name}"].to(parameter.device),
            }
        return checkpoint.step

    def export(self, folder: Path) -> Path:
        """Write `adapter.safetensors`, as a whole or not at all."""
        path = folder / "adapter.safetensors"
        if self._world.is_first:
            part = path.with_suffix(".part")
            save_adapter(self._adapter, self._model.config, part, self._recipe.kind)
            part.replace(path)
        return path
