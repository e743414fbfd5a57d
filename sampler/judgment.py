"""What a forward says about its rows. Knows no cache and no canvas.

The native kernels fuse this into the head; elsewhere it is read off the logits.
"""

from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True)
class Judgment:
    """The most likely token of each row, and as much beside it as was asked for.

    Shape suffixes: L rows, V vocabulary.
    """

    tokens_L: Tensor
    """int64; the first of equally likely ones."""
    confidence_L: Tensor | None = None
    """Probability of that token, float32."""
    logits_LV: Tensor | None = None

    @property
    def logits(self) -> Tensor:
        """The logits (L, V), which must have been asked for."""
        assert self.logits_LV is not None, "this forward was not asked for logits"
        return self.logits_LV
