"""Forwards of the network over cached sequences. Knows no policy, request or text.

Two kinds, the only places where the engine touches the device: `advance` (a causal chain of the
base, whose K/V stay, and behind it branches of MASK rows with the adapter, whose K/V are scratch)
and `denoise` (canvas attention, adapter on MASK rows, all K/V scratch).
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from torch import Tensor

from model.coupling import read_candidates
from model.masks import Attention, Branches
from model.network import KVCache, Transformer, first_rows
from sampler.canvas import Canvas
from sampler.judgment import Judgment
from sampler.kernels.cpu.native import NativeCache, NativeModel
from sampler.kv_cache import CachedSequence
from sampler.policy import judge


@dataclass(frozen=True)
class Forward:
    """What a request wants computed: rows behind the tokens of its sequence."""

    sequence: CachedSequence
    chain: list[int]
    sizes: tuple[int, ...] = ()
    """MASK rows behind each chain token; () = none."""
    num_judged: int | None = None
    """How many of the last chain rows are judged; None = all."""
    num_early: int = 0
    needs_logits: bool = False


class Runner:
    """Owns the device. Every method blocks until its forward is done."""

    def __init__(self, model: Transformer | NativeModel) -> None:
        self.model = model
        self.device: torch.device = (
            model.device if isinstance(model, NativeModel) else next(model.parameters()).device
        )
        self.num_forwards = 0

    @property
    def kernels(self) -> str:
        """What computes, in words, e.g. `native avx512`."""
        return f"native {self.model.path}" if isinstance(self.model, NativeModel) else "torch"

    def allocate(self, num_positions: int) -> KVCache | NativeCache:
        """KV tensors for one sequence."""
        if isinstance(self.model, NativeModel):
            return self.model.allocate(num_positions)
        dtype = next(self.model.parameters()).dtype
        return KVCache.allocate(self.model.config, num_positions, dtype=dtype, device=self.device)

    @torch.inference_mode()
    def advance(
        self,
        sequence: CachedSequence,
        chain: list[int],
        sizes: tuple[int, ...] = (),
        *,
        num_judged: int | None = None,
        num_early: int = 0,
        needs_logits: bool = False,
    ) -> Judgment:
        """One forward over `chain` behind the sequence, and branches of MASK rows behind it.

        Row i of the chain is judged by the AR model: what follows its token. The caller extends the
        sequence by the tokens that it keeps; K/V behind them are scratch.

        Args:
            sequence: whose tokens are all visible.
            chain: tokens, at least one.
            sizes: MASK rows behind each of them, see `Branches`; none if empty.
            num_judged: how many of the last chain rows are judged, besides all MASK rows; all if
                None. With branches behind any but the last chain row, that is what it must be.
            num_early: how many of the first chain rows, none of which are judged, leave early, see
                `model.early`; none do where the network has no such map.
            needs_logits: whether the judgment has logits.
        """
        num_masks = sum(sizes)
        ids = chain + [self.model.config.mask_id] * num_masks
        ids_BT = torch.tensor([ids], dtype=torch.long, device=self.device)
        first = 0 if num_judged is None else len(chain) - num_judged
        rows = slice(first, len(ids))
        attention: Attention = "causal"
        gate_BT = None
        if num_masks:
            assert len(sizes) == len(chain)
            attention, gate_BT = Branches(sizes), ids_BT == self.model.config.mask_id
        return self._forward(
            *(ids_BT, sequence, attention, gate_BT, rows),
            num_early=num_early,
            needs_logits=needs_logits,
        )

    @property
    def shares_forwards(self) -> bool:
        """Whether `advance_together` may compute several forwards in one."""
        return False

    def advance_together(self, forwards: Sequence[Forward]) -> list[Judgment]:
        """What `advance` gives for each; here one after the other."""
        return [
            self.advance(
                forward.sequence,
                forward.chain,
                forward.sizes,
                num_judged=forward.num_judged,
                num_early=forward.num_early,
                needs_logits=forward.needs_logits,
            )
            for forward in forwards
        ]

    @torch.inference_mode()
    def denoise(
        self, sequence: CachedSequence, canvas: Canvas, *, needs_logits: bool = False
    ) -> Judgment:
        """Judges slots 1 … L-1 of the canvas, from rows 0 … L-2, with confidence."""
        assert canvas.start == len(sequence.tokens)
        return self._forward(
            canvas.tokens_L[None],
            sequence,
            "canvas",
            canvas.is_masked_L[None],
            slice(0, canvas.num_slots - 1),
            needs_logits=needs_logits,
        )

    def _forward(
        self,
        ids_BT: Tensor,
        sequence: CachedSequence,
        attention: Attention,
        gate_BT: Tensor | None,
        rows: slice,
        *,
        num_early: int = 0,
        needs_logits: bool,
    ) -> Judgment:
        """One forward behind the tokens of `sequence`; judges `rows`."""
        self.num_forwards += 1
        start, kv = len(sequence.tokens), sequence.kv
        if isinstance(self.model, NativeModel):
            assert isinstance(kv, NativeCache)
            assert not isinstance(attention, Tensor)
            return self.model.judge(
                ids_BT,
                cache=kv,
                start=start,
                attention=attention,
                gate_BT=gate_BT,
                rows=rows,
                num_early=num_early,
                needs_logits=needs_logits,
            )
        assert isinstance(kv, KVCache)
        hidden_BRD = self.model.hidden(
            ids_BT,
            cache=kv,
            start=start,
            attention=attention,
            gate_BT=gate_BT,
            rows=rows,
            is_early_T=first_rows(ids_BT, num_early),
        )
        logits_BRV = self.model.head(hidden_BRD).float()
        judgment = judge(logits_BRV[0], next_ids(ids_BT, self.model.config.mask_id)[rows])
        if gate_BT is None or self.model.adapter is None or self.model.adapter.coupling is None:
            return judgment
        return replace(judgment, candidates=read_candidates(hidden_BRD[0], logits_BRV[0]))


def next_ids(ids_BT: Tensor, mask_id: int) -> Tensor:
    """The id behind each row of a forward, (T,); MASK behind the last one."""
    return F.pad(ids_BT[0, 1:], (0, 1), value=mask_id)
