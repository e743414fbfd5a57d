"""What most runs train: a low-rank update of a frozen base."""

from dataclasses import replace
from pathlib import Path

from model.adapter import Adapter, AdapterConfig, load_adapter, save_adapter
from model.network import Transformer
from training.base_update import load_base_update
from training.beside_base import BesideBase
from training.distributed import World
from training.recipes import Recipe, RecipeError


class LowRankTrained(BesideBase):
    """An adapter on a model."""

    def __init__(self, model: Transformer, recipe: Recipe, world: World, start: Path | None):
        """Attach a fresh adapter to the model, or one of another run; an update of the base may be
        in the file of an adapter that was trained over it.

        Raises:
            RecipeError: if the adapter to begin with has another rank than the recipe.
            AdapterError: if it does not fit the model.
        """
        model.requires_grad_(False)
        self._model, self._recipe = model, recipe
        block_size = max(recipe.block_sizes, default=None)
        config = AdapterConfig(recipe.rank, recipe.alpha, block_size, recipe.coupling_rank)
        found: Adapter | None = None
        if start is not None and recipe.kind == "merge":
            found = load_base_update(start, model.config, recipe.alpha)
        elif start is not None:
            found = load_adapter(start, model.config, recipe.kind)
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
        super().__init__("adapter", named, world)

    def export(self, folder: Path) -> Path:
        """Write `adapter.safetensors`, as a whole or not at all."""
        path = folder / "adapter.safetensors"
        if self._world.is_first:
            part = path.with_suffix(".part")
            save_adapter(self._adapter, self._model.config, part, self._recipe.kind)
            part.replace(path)
        return path
