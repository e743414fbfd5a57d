"""One denoising step's decision, on the device: reveal masked slots, and edit visible ones.

The threshold falls to the highest confidence among the masked slots, so that at least one of them
is revealed and the host need not look. The same rule as `sampler.policy` with `threshold`
(Fast-dLLM 2505.22618, section 3.3); editing is that of LLaDA2.1.

Knows neither logits nor acceptance. Shape suffixes: L slots of a canvas.
"""

import torch
import triton
import triton.language as tl
from torch import Tensor

NEVER = 2.0
"""An edit threshold that no probability exceeds."""


def unmask(
    tokens_L: Tensor,
    confidence_L: Tensor,
    canvas_L: Tensor,
    is_masked_L: Tensor,
    threshold: float,
    edit_threshold: float = NEVER,
) -> None:
    """Write into the canvas what row i says of slot i + 1, where it may; slot 0 is settled.

    Args:
        tokens_L: most likely tokens, int64; the last row's is not used.
        confidence_L: their probabilities, float32.
        canvas_L: tokens, int64, changed in place.
        is_masked_L: bool, changed in place.
        threshold: reveal where the confidence is at least this, or the highest; 0 reveals all.
        edit_threshold: replace a visible token where the confidence is above this.
    """
    num_slots = len(canvas_L)
    _unmask[(1,)](
        tokens_L,
        confidence_L,
        canvas_L,
        is_masked_L.view(torch.int8),
        num_slots,
        threshold,
        edit_threshold,
        BLOCK_L=triton.next_power_of_2(num_slots),
        num_warps=1,
    )


def unmask_twin(
    tokens_L: Tensor,
    confidence_L: Tensor,
    canvas_L: Tensor,
    is_masked_L: Tensor,
    threshold: float,
    edit_threshold: float = NEVER,
) -> None:
    """See `unmask`."""
    slots_L, is_masked = canvas_L[1:], is_masked_L[1:]
    tokens, confidence = tokens_L[: len(slots_L)], confidence_L[: len(slots_L)]
    score_L = confidence.masked_fill(~is_masked, -1.0)
    is_revealed_L = is_masked & (score_L >= score_L.max().clamp(max=threshold))
    is_edited_L = ~is_masked & (confidence > edit_threshold)
    slots_L.copy_(torch.where(is_revealed_L | is_edited_L, tokens, slots_L))
    is_masked &= ~is_revealed_L


@triton.jit
def _unmask(
    tokens,
    confidence,
    canvas,
    is_masked,
    num_slots,
    threshold,
    edit_threshold,
    BLOCK_L: tl.constexpr,
):
    slot = tl.arange(0, BLOCK_L)
    is_draft = (slot > 0) & (slot < num_slots)
    masked = (tl.load(is_masked + slot, mask=is_draft, other=0) != 0) & is_draft
    token = tl.load(tokens + slot - 1, mask=is_draft, other=0)
    sure = tl.load(confidence + slot - 1, mask=is_draft, other=-1.0)
    needed = tl.minimum(tl.max(tl.where(masked, sure, -1.0), axis=0), threshold)
    revealed = masked & (sure >= needed)
    edited = is_draft & (masked == 0) & (sure > edit_threshold)
    tl.store(canvas + slot, token, mask=revealed | edited)
    tl.store(is_masked + slot, (masked & (revealed == 0)).to(tl.int8), mask=is_draft)
