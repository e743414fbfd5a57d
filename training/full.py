"""What a run with `--full` trains: every weight of the network, and the embedding of MASK.

FSDP2 spreads float32 weights and the optimizer's state over the processes and gathers a layer, in
the network's own type, while it computes; one process is the same with nothing to spread. Each
process loads all weights before it keeps its share. Knows neither stages nor the order of records.

MASK stays in an adapter file, with updates of rank 1 that are zero: its id is one past the
vocabulary, so no checkpoint in the Hugging Face layout has a row for it, and the sampler reads such
a file as it is.
"""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor
from torch.distributed.checkpoint.state_dict import (
    StateDictOptions,
    get_model_state_dict,
    get_state_dict,
    set_state_dict,
)
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import (
    FSDPModule,
    MixedPrecisionPolicy,
    fully_shard,
    register_fsdp_forward_method,
)

from model.adapter import Adapter, AdapterConfig, save_adapter
from model.network import Transformer
from model.weights import save_model
from training.checkpoint import last_checkpoint, load_shards, save_shards, step_of
from training.distributed import World
from training.recipes import RECIPES, Recipe, RecipeError
from training.tokenizer_file import copy_vocabulary

STAGES_OF_ALL_WEIGHTS = ("fim", "ar", "adapt")
_MASK = "adapter."


def full_recipe(recipe: Recipe) -> Recipe:
    """The same for all weights, at the learning rate and with the warm-up of the AR twin.

    Nothing of a base that is itself trained can be kept: `keep_weight` is 0 then.

    Raises:
        RecipeError: if the stage works on a frozen base only.
    """
    if recipe.stage not in STAGES_OF_ALL_WEIGHTS:
        raise RecipeError(
            f"Recipe {recipe.name} trains an adapter over a frozen base; --full is for "
            f"{', '.join(STAGES_OF_ALL_WEIGHTS)}."
        )
    twin = RECIPES["ar"]()
    return replace(
        recipe,
        is_full=True,
        keep_weight=0.0,
        peak_lr=min(recipe.peak_lr, twin.peak_lr),
        warmup_steps=max(recipe.warmup_steps, twin.warmup_steps),
    )


class FullTrained:
    """All weights of a model, sharded; every process takes part in every forward."""

    needs_all = True

    def __init__(
        self,
        model: Transformer,
        recipe: Recipe,
        world: World,
        dtype: torch.dtype,
        base: Path | None,
    ) -> None:
        """Shard the model, whose weights are float32.

        Args:
            model: what to train.
            recipe: what to do.
            world: the processes, which have a process group even if there is but one.
            dtype: that the network computes in, and that the weights are written in at the end.
            base: where the weights are from; its vocabulary goes beside the trained ones.
        """
        self._model, self._recipe, self._world = model, recipe, world
        self._dtype, self._base = dtype, base
        self.gradient_scale = float(world.size)  # FSDP takes the mean over the processes
        device = model.embedding.weight.device
        block_size = max(recipe.block_sizes, default=None)
        adapter = Adapter(model.config, AdapterConfig(1, 1.0, block_size))
        adapter.start_mask_at(model.embedding.weight)
        model.adapter = adapter.to(device)
        model.requires_grad_(True)
        adapter.requires_grad_(False)
        adapter.mask_embedding.requires_grad_(recipe.kind == "gated")
        mesh = init_device_mesh(device.type, (world.size,))
        policy = MixedPrecisionPolicy(param_dtype=dtype, reduce_dtype=torch.float32)
        for block in model.blocks:
            fully_shard(block, mesh=mesh, mp_policy=policy)
        # The root keeps its weights between forward and backward, where the loss needs the head.
        fully_shard(model, mesh=mesh, mp_policy=policy, reshard_after_forward=False)
        register_fsdp_forward_method(model, "hidden")  # stages call this, not the network itself
        self.parameters = list[Tensor](w for w in model.parameters() if w.requires_grad)

    def begin_forward(self, is_last: bool) -> None:
        """Processes exchange gradients once a step, after its last backward."""
        self._sharded.set_requires_gradient_sync(is_last)

    def sum_gradients(self) -> None:
        """Done by FSDP along with the last backward."""

    def save(
        self,
        folder: Path,
        step: int,
        optimizer: torch.optim.Optimizer,
        values: Mapping[str, Any],
    ) -> None:
        """Write a distributed checkpoint, together."""
        self._sharded.reshard()
        save_shards(folder, step, self._state(optimizer), values, self._world)

    def restore(self, folder: Path, optimizer: torch.optim.Optimizer) -> int:
        """Put the last checkpoint's state in place; returns the steps done, 0 without one."""
        path = last_checkpoint(folder)
        if path is None:
            return 0
        state = self._state(optimizer)
        load_shards(path, state)
        set_state_dict(
            self._model,
            optimizer,
            model_state_dict=state["model"],
            optim_state_dict=state["optimizer"],
        )
        return step_of(path)

    def export(self, folder: Path) -> Path:
        """Write `model/`, a checkpoint in the Hugging Face layout, and `adapter.safetensors`.

        Returns:
            The folder of the model.
        """
        self._sharded.reshard()
        path = folder / "model"
        options = StateDictOptions(full_state_dict=True, cpu_offload=True)
        whole = cast(dict[str, Tensor], get_model_state_dict(self._model, options=options))
        if self._world.is_first:
            config = self._model.config
            with torch.device("meta"):
                plain = Transformer(config)
                adapter = Adapter(config, self._adapter.config)
            plain.load_state_dict(
                {
                    name: weight.to(self._dtype)
                    for name, weight in whole.items()
                    if not name.startswith(_MASK)
                },
                assign=True,
            )
            if config.is_tied:
                plain.head.weight = plain.embedding.weight
            save_model(plain, path)
            if self._base is not None:
                copy_vocabulary(self._base, path)
            adapter.load_state_dict(
                {
                    name.removeprefix(_MASK): weight
                    for name, weight in whole.items()
                    if name.startswith(_MASK)
                },
                assign=True,
            )
            save_adapter(adapter, config, folder / "adapter.safetensors")
        self._world.wait()
        return path

    @property
    def _sharded(self) -> FSDPModule:
        assert isinstance(self._model, FSDPModule)
        return self._model

    @property
    def _adapter(self) -> Adapter:
        assert self._model.adapter is not None
        return self._model.adapter

    def _state(self, optimizer: torch.optim.Optimizer) -> dict[str, dict[str, Any]]:
        model, optimizer_state = get_state_dict(self._model, optimizer)
        return {"model": model, "optimizer": dict(optimizer_state)}
