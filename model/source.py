"""What weights are before they are loaded: tensors under their Hugging Face names.

Knows no file format.
"""

from typing import Protocol

from torch import Tensor

from model.config import ModelConfig

PICKLES = {".bin", ".pt", ".pth", ".ckpt", ".pkl", ".pickle"}
"""Endings of files that can run code when they are loaded."""


class WeightsError(ValueError):
    """Weights that cannot be loaded; one sentence for a person."""


class Source(Protocol):
    """Tensors under their Hugging Face names, not yet read."""

    config: ModelConfig
    shapes: dict[str, tuple[int, ...]]

    def read(self, name: str, begin: int, end: int) -> Tensor:
        """Rows `begin` … `end` - 1 of a tensor, on the CPU, in any float type."""
