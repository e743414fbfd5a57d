"""The reference sampler: block diffusion with AR verification, uncached, one file to read.

Every forward runs over the whole sequence; nothing is reused. The engine must give the same tokens
(tests/parity). Never optimised. Knows no requests, text, time or cache.

The method (docs/sampler.md): clean context is causal, the active block is bidirectional but for its
settled first row (NBDiff 2512.06776); row p predicts token p + 1; the adapter acts on MASK rows
only (gated LoRA, 2507.11851); the commit forward is causal, base only, and its logits judge the
draft from left to right (TiDAR 2511.08923).

Shape suffixes: B batch (1), T sequence, L canvas, V vocabulary.
"""

from collections.abc import Set
from dataclasses import dataclass, field

import torch
from torch import Tensor

from model.format.healing import Continuations
from model.network import Transformer
from sampler.canvas import Canvas, reveal
from sampler.judgment import Judgment
from sampler.messages import Mode
from sampler.policy import UnmaskPolicy, num_accepted, predict


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
        model: network whose adapter drafts; without one, or in mode `ar`, a block is one token.
        context: token ids, at least one.
        mode: how drafts are accepted, see `sampler.policy.num_accepted`.
        block_size: slots of a canvas, the settled first one included.
        max_new_tokens: upper bound of the result's length.
        end_ids: ids that end generation; the first one met is the last token returned.
        policy: which slots a denoising step reveals.
        max_steps: denoising steps per block; the last one reveals whatever is still masked.
        delta: acceptance ratio of mode `balanced`.
        required: bytes that the first tokens have to spell (token healing), one token a forward.
        continuations: which tokens go on in a given way; needed if something is required.
    """
    policy = policy or UnmaskPolicy()
    result = Generated()
    committed = list(context)
    device = next(model.parameters()).device
    has_drafts = model.adapter is not None and mode != "ar"

    logits_V = model(torch.tensor([committed], device=device))[0, -1]
    while True:
        first = int(logits_V.argmax())
        num_slots = min(block_size if has_drafts else 1, max_new_tokens - len(result.tokens))
        if required:
            assert continuations is not None
            ids = torch.from_numpy(continuations.of(required)).to(device)
            first = int(ids[logits_V[ids].argmax()])
            required = required[len(continuations.spelling(first)) :]
            num_slots = 1  # a token that heals is not drafted behind
        canvas = Canvas.masked(len(committed), first, num_slots, model.config.mask_id, device)
        context_T = torch.tensor(committed, device=device)

        for step in range(max_steps):
            if not canvas.has_masked:
                break
            ids_BT = torch.cat([context_T, canvas.tokens_L])[None]
            gate_BT = torch.cat([torch.zeros_like(context_T, dtype=torch.bool), canvas.is_masked_L])
            logits_BTV = model(
                ids_BT,
                attention=block_mask(len(committed), num_slots).to(device),
                gate_BT=gate_BT[None],
            )
            result.num_forwards += 1
            logits_LV = logits_BTV[0, len(committed) : -1]
            judgment = Judgment(*predict(logits_LV), logits_LV)
            revealed = reveal(canvas, judgment, policy, is_last=step == max_steps - 1)
            result.trajectory += [Revealed(step, *entry) for entry in revealed]

        # Commit = verify: one causal forward of the base over context and canvas.
        logits_BTV = model(torch.cat([context_T, canvas.tokens_L])[None])
        result.num_forwards += 1
        logits_LV = logits_BTV[0, len(committed) :]
        accepted = num_accepted(mode, canvas.tokens_L[1:], logits_LV[:-1], delta)
        logits_V = logits_LV[accepted]
        for token in canvas.tokens_L[: accepted + 1].tolist():
            committed.append(token)
            result.tokens.append(token)
            if token in end_ids or len(result.tokens) == max_new_tokens:
                return result
