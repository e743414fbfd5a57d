"""Drafts that know the draft before them.

A block is denoised in one forward, so each MASK row guesses its token without knowing what the row
before it will say, and two sure guesses may not fit together. The coupling mends that behind the
forward: a small correction of a row's state, from the state itself and the token that was chosen
in the row's own place. Rows are chosen one after the other, but no network runs between them; what
is looked at are a few candidates a row, so it costs a fraction of a millisecond.

Source: sequentially dependent draft heads (Hydra, 2402.05109); that what a factorized denoiser
lacks is the dependence between its tokens, and a small model can supply it: Discrete Copula
Diffusion, 2410.01949.

Shape suffixes: R rows, L rows of one branch, K candidates, C rank, D width.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

NUM_CANDIDATES = 8
"""Tokens of a row that are chosen among: where the right one is not one of these it is far off."""

SCALE = 8.0
"""Of the correction: it has to be several times as large as what an optimizer, with the learning
rate that suits the adapter, makes of B."""


class Coupling(nn.Module):
    """State of a MASK row and embedding of the token in its place → correction of the state.

    SCALE · B silu(A_state norm(state) + A_token norm(token)). B starts at zero, so a fresh one
    changes nothing.
    """

    def __init__(self, width: int, rank: int) -> None:
        super().__init__()
        self.state = nn.Parameter(_random(rank, width))
        self.token = nn.Parameter(_random(rank, width))
        self.back = nn.Parameter(torch.zeros(width, rank))

    def forward(self, hidden_RD: Tensor, token_RD: Tensor) -> Tensor:
        """The corrections (R, D), float32.

        Args:
            hidden_RD: states behind the final norm, as the head takes them.
            token_RD: embeddings of the tokens that stand where the rows are.
        """
        z_RC = F.silu(self.of_state(hidden_RD) + self.of_token(token_RD))
        return F.linear(z_RC, self.scaled_back)

    @property
    def scaled_back(self) -> Tensor:
        """SCALE · B, (D, C)."""
        return self.back.float() * SCALE

    def of_state(self, hidden_RD: Tensor) -> Tensor:
        """What the states bring to the inner layer, (R, C)."""
        return F.linear(_normed(hidden_RD), self.state.float())

    def of_token(self, token_RD: Tensor) -> Tensor:
        """What the tokens bring to the inner layer, (R, C)."""
        return F.linear(_normed(token_RD), self.token.float())


@dataclass(frozen=True)
class Candidates:
    """What MASK rows may mean: their most likely tokens, the likeliest first."""

    hidden_LD: Tensor
    """States behind the final norm, float32."""
    ids_LK: Tensor
    """int64."""
    log_p_LK: Tensor
    """Logarithms of their probabilities, float32."""

    def rows(self, rows: slice | Tensor) -> "Candidates":
        """Some of the rows, or those with these numbers."""
        return Candidates(self.hidden_LD[rows], self.ids_LK[rows], self.log_p_LK[rows])


def read_candidates(hidden_LD: Tensor, logits_LV: Tensor) -> Candidates:
    """The candidates of rows with these states and logits."""
    log_p_LV = logits_LV.float().log_softmax(-1)
    log_p_LK, ids_LK = log_p_LV.topk(min(NUM_CANDIDATES, log_p_LV.shape[-1]))
    return Candidates(hidden_LD.float(), ids_LK, log_p_LK)


@torch.no_grad()
def choose_coupled(
    coupling: Coupling,
    candidates: Candidates,
    first: int,
    embed: Callable[[Tensor], Tensor],
    head: Callable[[Tensor], Tensor] | None = None,
) -> tuple[list[int], list[float]]:
    """The tokens of a branch and their probabilities, each chosen knowing the one before it.

    Args:
        coupling: corrects the rows.
        candidates: of the branch's rows, in their order.
        first: the token that stands in the place of the first row.
        embed: rows of the embedding: ids (N,) to (N, D).
        head: rows of the head, where it is not the embedding.
    """
    chosen, probabilities, token_1 = [], [], torch.tensor([first])
    of_state_LC = coupling.of_state(candidates.hidden_LD)
    for row, ids_K in enumerate(candidates.ids_LK):
        z_C = F.silu(of_state_LC[row] + coupling.of_token(embed(token_1))[0])
        # A token's logit changes by the product of its row of the head and the correction.
        change_K = (head or embed)(ids_K).float() @ (coupling.scaled_back @ z_C)
        log_p_K = candidates.log_p_LK[row]
        # What the row gives to all other tokens stays as it was.
        coupled_K = (log_p_K + change_K).log_softmax(-1) + log_p_K.logsumexp(-1)
        best, index = coupled_K.max(-1)
        token_1 = ids_K[index][None]
        chosen.append(int(token_1))
        probabilities.append(float(best.exp()))
    return chosen, probabilities


def _random(rank: int, width: int) -> Tensor:
    numbers = torch.empty(rank, width)
    return numbers if numbers.is_meta else numbers.normal_() / width**0.5


def _normed(x_RD: Tensor) -> Tensor:
    x_RD = x_RD.float()
    return x_RD * (x_RD.square().mean(-1, keepdim=True) + 1e-6).rsqrt()
