"""What a forward says about its rows. Knows no cache and no canvas.

The native kernels fuse this into the head; elsewhere it is read off the logits.
"""

from dataclasses import dataclass
from functools import cached_property

from torch import Tensor

from model.coupling import NUM_CANDIDATES, Candidates


@dataclass(frozen=True)
class Predicted:
    """Tokens one after the other, each with the probability that the model gives it there."""

    tokens: list[int]
    probabilities: list[float]

    def __post_init__(self) -> None:
        assert len(self.tokens) == len(self.probabilities)

    def __add__(self, other: "Predicted") -> "Predicted":
        return Predicted(self.tokens + other.tokens, self.probabilities + other.probabilities)


@dataclass(frozen=True)
class Judgment:
    """What each row says of the token behind it; logits if they were asked for.

    Shape suffixes: L rows, V vocabulary.
    """

    tokens_L: Tensor
    """The most likely one, int64; the first of equally likely ones."""
    confidence_L: Tensor
    """Probability of that token, float32."""
    shares_L: Tensor
    """Probability of the token that stands in the next row of the forward, over that of the most
    likely one; 0 where there is none or it is MASK. float32."""
    logits_LV: Tensor | None = None
    candidates: Candidates | None = None
    """Of the MASK rows, where the adapter couples them; other rows of it mean nothing, unless those
    of all rows were asked for."""

    @property
    def logits(self) -> Tensor:
        """The logits (L, V), which must have been asked for."""
        assert self.logits_LV is not None, "this forward was not asked for logits"
        return self.logits_LV

    @cached_property
    def tokens(self) -> list[int]:
        """The most likely tokens as plain numbers."""
        return self.tokens_L.tolist()

    @cached_property
    def confidences(self) -> list[float]:
        """Their probabilities."""
        return self.confidence_L.tolist()

    @cached_property
    def shares(self) -> list[float]:
        """`shares_L` as plain numbers."""
        return self.shares_L.tolist()

    def likeliest(self, row: int) -> tuple[Tensor, Tensor]:
        """Ids and log probabilities of the tokens that are likeliest behind a row, best first.

        They must have been asked for, or logits.
        """
        if self.candidates is not None:
            return self.candidates.ids_LK[row], self.candidates.log_p_LK[row]
        log_p_V = self.logits[row].float().log_softmax(-1)
        log_p_K, ids_K = log_p_V.topk(min(NUM_CANDIDATES, len(log_p_V)))
        return ids_K, log_p_K

    def predicted(self, rows: slice) -> Predicted:
        """What some of the rows predict."""
        return Predicted(self.tokens[rows], self.confidences[rows])
