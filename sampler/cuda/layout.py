"""Which rows a forward has, where they stand and whom they see, as tensors. Knows no tokens.

Shape suffixes: R rows, C rows of the chain.
"""

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from model.masks import Branches


@dataclass(frozen=True)
class Layout:
    """`Branches` as the kernels read them; see there."""

    offsets_R: Tensor
    """Where each row stands, counted from the end of the context, int64."""
    is_visible_RR: Tensor
    """bool, whether a row sees another one; all see the whole context."""
    starts_C: Tensor
    """First row of the branch behind each row of the chain, int64."""
    sizes_C: Tensor
    """Its rows, int64."""
    bounds: Tensor
    """Where each sequence's rows begin and the last one's end, int64, see `triton.segments`."""

    @property
    def num_rows(self) -> int:
        """R."""
        return len(self.offsets_R)

    @property
    def num_slots(self) -> int:
        """C: the settled token and the drafts behind it."""
        return len(self.sizes_C)

    @property
    def has_branches(self) -> bool:
        """Whether any row is one of a branch."""
        return self.num_rows > self.num_slots

    @staticmethod
    def of(sizes: tuple[int, ...], device: torch.device) -> "Layout":
        """A chain of `len(sizes)` rows with a branch of so many MASK rows behind each."""
        branches = Branches(sizes)
        starts = [branches.branch(index).start for index in range(len(sizes))]
        return Layout(
            torch.tensor(branches.positions(), device=device),
            branches.visibility().to(device),
            torch.tensor(starts, device=device),
            torch.tensor(sizes, device=device),
            torch.tensor([0, branches.num_rows], device=device),
        )

    @staticmethod
    def causal(num_slots: int, device: torch.device) -> "Layout":
        """A chain alone: what verifies drafts, appends context and, of one row, decodes AR."""
        return Layout.of((0,) * num_slots, device)

    @staticmethod
    def canvas(num_slots: int, device: torch.device) -> "Layout":
        """Rows that all see each other, but for the first, which is settled and sees no draft."""
        causal = Layout.causal(num_slots, device)
        is_visible_RR = torch.ones_like(causal.is_visible_RR)
        is_visible_RR[0, 1:] = False
        return replace(causal, is_visible_RR=is_visible_RR)
