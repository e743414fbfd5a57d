"""The canvas: the block of tokens that is being denoised. Knows no model, request or cache.

Slot 0 is settled before drafting starts: it is the AR token of the last context row. The slots
after it are drafts, masked or visible. By the shift of an AR checkpoint, row i of a forward over
the canvas predicts slot i + 1.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from sampler.judgment import Judgment
from sampler.policy import UnmaskPolicy, allowed_by_order, select_unmask


@dataclass
class Canvas:
    """Tokens of one block at positions `start` .. `start + L - 1`; MASK where not yet revealed."""

    start: int
    tokens_L: Tensor
    is_masked_L: Tensor

    @staticmethod
    def masked(
        start: int, first: int, num_slots: int, mask_id: int, device: torch.device
    ) -> "Canvas":
        """`first` in slot 0, MASK in the other `num_slots - 1`."""
        tokens_L = torch.full((num_slots,), mask_id, dtype=torch.long, device=device)
        tokens_L[0] = first
        return Canvas(start, tokens_L, tokens_L == mask_id)

    @property
    def num_slots(self) -> int:
        """L, the settled slot included."""
        return len(self.tokens_L)

    @property
    def has_masked(self) -> bool:
        """Whether anything is left to denoise."""
        return bool(self.is_masked_L.any())


def reveal(
    canvas: Canvas, judgment: Judgment, policy: UnmaskPolicy, *, is_last: bool
) -> list[tuple[int, int, float]]:
    """One denoising step: write what `policy` reveals into the canvas (everything if `is_last`).

    `judgment` is that of rows 0 … L-2, which predict slots 1 … L-1. Only masked slots change.
    Returns (position, token, confidence) of each slot revealed.
    """
    tokens_L, confidence_L = judgment.tokens_L, judgment.confidence_L
    is_masked_L = canvas.is_masked_L[1:]
    if is_last:
        is_revealed_L = is_masked_L.clone()
    else:
        is_allowed_L = is_masked_L
        if policy.order_window is not None:
            order_L = torch.arange(len(is_masked_L), device=is_masked_L.device)
            is_allowed_L = allowed_by_order(is_masked_L, order_L, policy.order_window)
        is_revealed_L = select_unmask(policy, judgment.logits_LV, confidence_L, is_allowed_L)
    canvas.tokens_L[1:][is_revealed_L] = tokens_L[is_revealed_L]
    canvas.is_masked_L[1:][is_revealed_L] = False
    slots = (is_revealed_L.nonzero()[:, 0] + canvas.start + 1).tolist()
    return list(
        zip(
            slots,
            tokens_L[is_revealed_L].tolist(),
            confidence_L[is_revealed_L].tolist(),
            strict=True,
        )
    )
