"""The optimizer's schedule and its guard. Knows no model.

AdamW is PyTorch's own; here is what surrounds it.
"""

import math
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.distributed.tensor import DTensor


class DivergedError(ValueError):
    """Training that cannot go on; one sentence for a person."""


@dataclass(frozen=True)
class Schedule:
    """Linear warm-up, then cosine down to a share of the peak (SGDR 1608.03983, no restart)."""

    peak: float
    num_steps: int
    warmup_steps: int
    final_share: float = 0.1

    def lr(self, step: int) -> float:
        """Learning rate of a step, counted from 0."""
        if step < self.warmup_steps:
            return self.peak * (step + 1) / self.warmup_steps
        span = max(self.num_steps - self.warmup_steps, 1)
        progress = min((step - self.warmup_steps) / span, 1.0)
        share = self.final_share + (1 - self.final_share) * (1 + math.cos(math.pi * progress)) / 2
        return self.peak * share


class SpikeGuard:
    """Tells a loss that has jumped from one that wavers.

    A loss is a spike if it lies more than `factor` typical deviations above the median of the last
    `window` ones, and more than `least` of it.
    """

    def __init__(self, window: int = 100, factor: float = 12.0, least: float = 0.5) -> None:
        self._losses: deque[float] = deque(maxlen=window)
        self._factor = factor
        self._least = least

    def check(self, step: int, loss: float) -> None:
        """Note the loss of a step.

        Raises:
            DivergedError: if it is no number, or a spike.
        """
        if not math.isfinite(loss):
            raise DivergedError(f"The loss of step {step} is {loss}.")
        if len(self._losses) >= 20:
            typical = float(torch.tensor(list(self._losses)).median())
            deviations = [abs(value - typical) for value in self._losses]
            deviation = float(torch.tensor(deviations).median())
            limit = typical + max(self._factor * deviation, self._least * abs(typical))
            if loss > limit:
                raise DivergedError(
                    f"The loss of step {step} has jumped to {loss:.3f}; it was {typical:.3f} in "
                    "the steps before."
                )
        self._losses.append(loss)

    @property
    def losses(self) -> list[float]:
        """The window, for a checkpoint."""
        return list(self._losses)

    def restore(self, losses: Iterable[float]) -> None:
        """The window of a checkpoint."""
        self._losses.clear()
        self._losses.extend(losses)


def clip_gradients(parameters: Iterable[Tensor], limit: float) -> float:
    """Scale all gradients down to a common norm of at most `limit`; returns the norm before.

    Of gradients that are spread over processes it is the norm of the whole, in each of them.
    """
    norm = torch.nn.utils.clip_grad_norm_(list(parameters), limit)
    return float(norm.full_tensor() if isinstance(norm, DTensor) else norm)
