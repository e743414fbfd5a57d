"""The reference sampler: block diffusion with AR verification, uncached, one file to read.

Every forward runs over the whole sequence; nothing is reused. The engine must give the same tokens
(tests/property). Never optimised. Knows no requests, text, time or cache.

The method (docs/sampler.md): clean context is causal, the active block is bidirectional but for its
settled first row (NBDiff 2512.06776); row p predicts token p + 1; the adapter acts on MASK rows
only (gated LoRA, 2507.11851); causal rows of the base judge drafts from left to right, in the same
forward that drafts what follows (TiDAR 2511.08923).

Shape suffixes: B batch (1), T sequence, L canvas, V vocabulary.
"""

from collections.abc import Set
from dataclasses import dataclass, field

import torch
from torch import Tensor

from model.coupling import read_candidates
from model.format.healing import Continuations
from model.masks import Branches
from model.network import Transformer
from sampler.canvas import Canvas, reveal
from sampler.messages import Mode
from sampler.policy import UnmaskPolicy, judge, num_accepted


@dataclass(frozen=True)
class Revealed:
    """One entry of a trajectory: in which step which slot became which token, how surely."""

    step: int
    position: int
    token: int
    confidence: float


@dataclass
class Generated:
    """Tokens up to and including an end token if there was one, and how they came about."""

    tokens: list[int] = field(default_factory=list)
    trajectory: list[Revealed] = field(default_factory=list)
    num_forwards: int = 0


def block_mask(num_context: int, num_slots: int) -> Tensor:
    """(T, T) bool, True = may attend: causal, but the rows of a canvas see all of it.

    Not its first row, which is settled: without sight of drafts it predicts as the AR model does.
    """
    total = num_context + num_slots
    mask_TT = torch.ones(total, total, dtype=torch.bool).tril()
    mask_TT[num_context + 1 :, num_context:] = True
    return mask_TT


@torch.inference_mode()
def generate(
    model: Transformer,
    context: list[int],
    *,
    mode: Mode,
    block_size: int,
    max_new_tokens: int,
    end_ids: Set[int] = frozenset(),
    policy: UnmaskPolicy | None = None,
    max_steps: int = 4,
    delta: float = 0.5,
    required: bytes = b"",
    continuations: Continuations | None = None,
) -> Generated:
    """Continue `context` by at most `max_new_tokens` tokens.

    Args:
        model: network whose adapter drafts; without one, or in mode `ar`, nothing is drafted.
        context: token ids, at least one.
        mode: how drafts are accepted; `diffusion` denoises blocks in steps and accepts them whole,
            the others draft in the forward that verifies the drafts before.
        block_size: slots of a canvas, the settled first one included.
        max_new_tokens: upper bound of the result's length.
        end_ids: ids that end generation; the first one met is the last token returned.
        policy: which slots a denoising step of mode `diffusion` reveals.
        max_steps: of them, per block; the last one reveals whatever is still masked.
        delta: least share of a draft in modes `balanced` and `fast`, see
            `sampler.policy.num_accepted`.
        required: bytes that the first tokens have to spell (token healing), one token a forward.
        continuations: which tokens go on in a given way; needed if something is required.
    """
    state = _State(list(context), max_new_tokens, end_ids)
    num_masks = block_size - 1 if model.adapter is not None and mode != "ar" else 0
    drafts: list[int] = []
    while True:
        # Chain and branches: the drafts behind the last settled token, judged left to right, and
        # behind each of them what may follow if it is the last right one.
        chain = [state.committed[-1], *drafts]
        branches = Branches((num_masks,) * len(chain))
        hidden_LD, logits_LV = _forward(model, state.committed[:-1], chain, branches)
        state.result.num_forwards += 1
        drafts_L = torch.tensor(drafts, dtype=torch.long, device=logits_LV.device)
        judgment = judge(logits_LV[: len(drafts)], drafts_L)
        is_relaxed = num_masks > 0 and mode in ("balanced", "fast")
        least_shares = [delta if is_relaxed else 2.0] * len(drafts)
        accepted = num_accepted(drafts, judgment.tokens, judgment.shares, least_shares)
        following_V = logits_LV[accepted]
        settled = int(following_V.argmax())
        is_healing = required != b""
        if is_healing:
            assert continuations is not None
            ids = torch.from_numpy(continuations.of(required)).to(following_V.device)
            settled = int(ids[following_V[ids].argmax()])
            required = required[len(continuations.spelling(settled)) :]
        if state.has_ended([*drafts[:accepted], settled]):
            return state.result
        if mode == "diffusion" and num_masks and not is_healing:
            if state.has_ended(_denoise(model, state, block_size, policy, max_steps)):
                return state.result
            drafts = []
        else:
            rows = branches.branch(accepted)
            drafts = logits_LV[rows].argmax(dim=-1).tolist()
            if drafts and model.adapter is not None and model.adapter.coupling is not None:
                candidates = read_candidates(hidden_LD[rows], logits_LV[rows])
                drafts, _ = model.couple(candidates, settled)
            drafts = [] if is_healing else drafts[: max_new_tokens - len(state.result.tokens)]


@dataclass
class _State:
    committed: list[int]
    max_new_tokens: int
    end_ids: Set[int]
    result: Generated = field(default_factory=Generated)

    def has_ended(self, tokens: list[int]) -> bool:
        """Append tokens; whether one of them was the last."""
        for token in tokens:
            self.committed.append(token)
            self.result.tokens.append(token)
            if token in self.end_ids or len(self.result.tokens) == self.max_new_tokens:
                return True
        return False


def _forward(
    model: Transformer, context: list[int], chain: list[int], branches: Branches
) -> tuple[Tensor, Tensor]:
    """States (L, D) and logits (L, V) of chain and branches behind `context`."""
    num_masks = branches.num_rows - len(chain)
    device = next(model.parameters()).device
    ids_BT = torch.tensor([context + chain + [model.config.mask_id] * num_masks], device=device)
    # The context is the head of the chain, with nothing branching off.
    branches = Branches((0,) * len(context) + branches.sizes)
    gate_BT = ids_BT == model.config.mask_id
    hidden_LD = model.hidden(ids_BT, attention=branches, gate_BT=gate_BT)[0, len(context) :]
    return hidden_LD, model.head(hidden_LD).float()


def _denoise(
    model: Transformer,
    state: _State,
    block_size: int,
    policy: UnmaskPolicy | None,
    max_steps: int,
) -> list[int]:
    """A block of mode `diffusion`: what stands behind the settled token when all is revealed."""
    device = next(model.parameters()).device
    num_context = len(state.committed) - 1
    num_slots = min(block_size, state.max_new_tokens - len(state.result.tokens) + 1)
    first = state.committed[-1]
    canvas = Canvas.masked(num_context, first, num_slots, model.config.mask_id, device)
    context_T = torch.tensor(state.committed[:-1], device=device)
    for step in range(max_steps):
        if not canvas.has_masked:
            break
        ids_BT = torch.cat([context_T, canvas.tokens_L])[None]
        gate_BT = torch.cat([torch.zeros_like(context_T, dtype=torch.bool), canvas.is_masked_L])
        logits_BTV = model(
            ids_BT,
            attention=block_mask(num_context, num_slots).to(device),
            gate_BT=gate_BT[None],
        )
        state.result.num_forwards += 1
        logits_LV = logits_BTV[0, num_context:-1]
        judgment = judge(logits_LV, canvas.tokens_L[1:])
        revealed = reveal(canvas, judgment, policy or UnmaskPolicy(), is_last=step == max_steps - 1)
        state.result.trajectory += [Revealed(step, *entry) for entry in revealed]
    return canvas.tokens_L[1:].tolist()
