"""Processes that train together: who is who, and the few things they tell each other.

A run has one process unless `torchrun` started several. Chance is drawn from (seed, step, record)
and records are divided over the processes, so any number of them computes the same step, to the
rounding of sums. Knows neither models nor losses.
"""

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import TypeVar

import torch
import torch.distributed as dist
from torch import Tensor
from torch._C._distributed_c10d import HashStore

T = TypeVar("T")
TIMEOUT = timedelta(minutes=30)
"""How long processes wait for each other: an evaluation or the first compilation of one of them
must not look like a death."""


class WorldError(ValueError):
    """Processes that could not train together; one sentence for a person."""


@dataclass(frozen=True)
class World:
    """The processes of a run as one of them sees it."""

    rank: int = 0
    size: int = 1

    @property
    def is_first(self) -> bool:
        """Whether this process speaks for all: bar, log, evaluation, files."""
        return self.rank == 0

    def own(self, items: Sequence[T]) -> list[T]:
        """This process's share of what a step divides over all."""
        return list(items[self.rank :: self.size])

    def sum_figures(self, figures: Mapping[str, float]) -> dict[str, float]:
        """Sums over all processes, the same in each; one may lack what others have."""
        sums: dict[str, float] = {}
        for each in self._gather(dict(figures)):
            for name, value in each.items():
                sums[name] = sums.get(name, 0.0) + value
        return sums

    def sum_gradients(self, parameters: Sequence[Tensor]) -> None:
        """Add the gradients of all processes up, in place, in one message.

        Parameters without a gradient in any process keep none, so that the optimizer leaves them.
        """
        if self.size == 1:
            return
        device = parameters[0].device
        has_any = torch.tensor([float(any(p.grad is not None for p in parameters))], device=device)
        parts = [has_any]
        for parameter in parameters:
            gradient = torch.zeros_like(parameter) if parameter.grad is None else parameter.grad
            parts.append(gradient.float().flatten())
        message = torch.cat(parts)
        dist.all_reduce(message)
        if message[0] == 0:
            return
        sums = torch.split(message[1:], [parameter.numel() for parameter in parameters])
        for parameter, total in zip(parameters, sums, strict=True):
            parameter.grad = total.view_as(parameter).to(parameter.dtype)

    def same(self, value: T) -> T:
        """What the first process says, in all of them."""
        return self._gather(value)[0]

    def agrees(self, value: object) -> bool:
        """Whether all processes say the same."""
        values = self._gather(value)
        return all(other == values[0] for other in values)

    def wait(self) -> None:
        """Go on when all have come so far."""
        if self.size > 1:
            dist.barrier()

    def _gather(self, value: T) -> list[T]:
        if self.size == 1:
            return [value]
        values: list[T | None] = [None] * self.size
        dist.all_gather_object(values, value)
        return values  # type: ignore[return-value]


ALONE = World()


@contextmanager
def join(device: torch.device, *, has_group: bool = False) -> Iterator[World]:
    """The world that `torchrun` has made, by its environment; one process where it did not.

    On CUDA each process gets the GPU of its `LOCAL_RANK`.

    Args:
        device: cpu or cuda.
        has_group: whether a process that is alone needs a process group, too (sharded weights).

    Raises:
        WorldError: if torchrun was started so that its restarts would fail.
    """
    size, rank = int(os.environ.get("WORLD_SIZE", "1")), int(os.environ.get("RANK", "0"))
    if device.type == "cuda":
        torch.cuda.set_device(int(os.environ.get("LOCAL_RANK", "0")))
    if size == 1 and not has_group:
        yield ALONE
        return
    # Objects and figures go over gloo, so that they need no GPU memory and no synchronization.
    backend = "cpu:gloo,cuda:nccl" if device.type == "cuda" else "gloo"
    if "WORLD_SIZE" in os.environ:
        _check_restarts()
        dist.init_process_group(backend, timeout=TIMEOUT)
    else:
        dist.init_process_group(backend, store=HashStore(), rank=0, world_size=1)
    try:
        yield World(rank, size)
    finally:
        dist.destroy_process_group()


def _check_restarts() -> None:
    """Processes that start again find the addresses of dead ones in a store that torchrun shares.

    Source: issue 135712 of PyTorch, still so in 2.13. Better now than after the first failure.
    """
    has_restarts = int(os.environ.get("TORCHELASTIC_MAX_RESTARTS", "0")) > 0
    if has_restarts and os.environ.get("TORCHELASTIC_USE_AGENT_STORE") == "True":
        raise WorldError(
            "With --max-restarts, start torchrun with TORCH_DISABLE_SHARE_RDZV_TCP_STORE=1 in its "
            "environment and --rdzv-backend c10d or --standalone."
        )
