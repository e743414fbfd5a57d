"""Few parameters beside a frozen base.

Each process holds the whole base and all that is trained; gradients are summed once a step. The
frozen weights are neither sharded nor synchronized: they never change, their bf16 is small beside
what a GPU has (1 GB of 0.5 B weights, 14 GB of 7 B), and a forward that waits for no other process
may have any shape. Knows neither stages nor the order of records.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from training.checkpoint import Checkpoint, load_checkpoint, save_checkpoint
from training.distributed import World


class BesideBase:
    """Parameters and how their state is kept; the first process writes it, all of them read it."""

    gradient_scale = 1.0
    needs_all = False

    def __init__(
        self,
        kind: str,
        named: Mapping[str, Tensor],
        world: World,
        fixed: Mapping[str, Tensor] | None = None,
    ) -> None:
        """What is trained.

        Args:
            kind: what it is, for the checkpoint.
            named: the parameters.
            world: the processes that train together.
            fixed: of the same kind, not trained, and found out when the run began.
        """
        self._kind, self._named, self._fixed, self._world = kind, named, fixed or {}, world
        self.parameters = list(named.values())

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
        tensors = {f"{self._kind}.{name}": tensor for name, tensor in self._fixed.items()}
        for name, parameter in self._named.items():
            state: Mapping[str, Any] = optimizer.state[parameter]
            tensors[f"{self._kind}.{name}"] = parameter
            tensors[f"average.{name}"] = state["exp_avg"]
            tensors[f"square.{name}"] = state["exp_avg_sq"]
        save_checkpoint(folder, Checkpoint(step, tensors, values))

    def restore(self, folder: Path, optimizer: torch.optim.Optimizer) -> int:
        """Put the last checkpoint's state in place; returns the steps done, 0 without one."""
        checkpoint = load_checkpoint(folder)
        if checkpoint is None:
            return 0
        tensors = checkpoint.tensors
        for name, tensor in self._fixed.items():
            tensor.copy_(tensors[f"{self._kind}.{name}"])
        for name, parameter in self._named.items():
            parameter.data.copy_(tensors[f"{self._kind}.{name}"])
            optimizer.state[parameter] = {
                "step": torch.tensor(float(checkpoint.step)),
                "exp_avg": tensors[f"average.{name}"].to(parameter.device),
                "exp_avg_sq": tensors[f"square.{name}"].to(parameter.device),
            }
        return checkpoint.step
