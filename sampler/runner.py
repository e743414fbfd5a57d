"""Forwards of the network over cached sequences. Knows no policy, request or text.

Two kinds, the only places where the engine touches the device: `advance_together` (causal chains of
the base, whose K/V stay, and behind them branches of MASK rows with the adapter, whose K/V are
scratch) and `denoise` (canvas attention, adapter on MASK rows, all K/V scratch).
"""

from collections.abc import Sequence
from dataclasses import replace

import torch
import torch.nn.functional as F
from torch import Tensor

from model.coupling import read_candidates
from model.masks import Attention, Branches
from model.network import KVCache, Transformer, first_rows
from sampler.canvas import Canvas
from sampler.forward import Forward
from sampler.judgment import Judgment
from sampler.kernels.cpu.native import NativeModel
from sampler.kernels.cpu.segments import NativeCache, Segment, Visible
from sampler.kv_cache import CachedSequence
from sampler.policy import judge

MOST_SHARED_ROWS = 192
"""A chunk of context and, beside it, rows of others."""


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

    @property
    def most_shared_rows(self) -> int:
        """Rows up to which several requests' in one forward take less time than one after the
        other; 0 if none ever do."""
        return MOST_SHARED_ROWS if isinstance(self.model, NativeModel) else 0

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
        """One forward for one request, see `Forward`."""
        forward = Forward(sequence, chain, sizes, num_judged, num_early, needs_logits)
        return self.advance_together([forward])[0]

    def interrupt(self) -> None:
        """End the forward that runs, if it may be and can be; in any thread."""
        if isinstance(self.model, NativeModel):
            self.model.interrupt(True)

    def end_interrupt(self) -> None:
        """Forwards run to their end again."""
        if isinstance(self.model, NativeModel):
            self.model.interrupt(False)

    @torch.inference_mode()
    def advance_together(
        self, forwards: Sequence[Forward], *, may_interrupt: bool = False
    ) -> list[Judgment]:
        """Forwards over different sequences, as one where that pays.

        No judgment depends on the other forwards. Each two of them must be able to share.

        Raises:
            InterruptedForwardError: after `interrupt`, if that may be.
        """
        if not isinstance(self.model, NativeModel):
            return [self._advance(forward) for forward in forwards]
        self.num_forwards += 1
        # Who has rows that are not judged comes first.
        order = sorted(range(len(forwards)), key=lambda index: -forwards[index].num_unjudged)
        segments = [self._segment(forwards[index]) for index in order]
        needs_logits = any(forward.needs_logits for forward in forwards)
        judgments = self.model.judge_together(
            segments, needs_logits=needs_logits, may_interrupt=may_interrupt
        )
        by_index = dict(zip(order, judgments, strict=True))
        return [by_index[index] for index in range(len(forwards))]

    def _segment(self, forward: Forward) -> Segment:
        cache, start = forward.sequence.kv, len(forward.sequence.tokens)
        assert isinstance(cache, NativeCache)
        ids_T, attention, gate_T, rows = self._rows_of(forward)
        return Segment(
            *(ids_T, cache, start, attention, gate_T, rows),
            forward.num_early,
            forward.needs_candidates,
        )

    def _advance(self, forward: Forward) -> Judgment:
        ids_T, attention, gate_T, rows = self._rows_of(forward)
        return self._forward(
            ids_T[None],
            forward.sequence,
            attention,
            None if gate_T is None else gate_T[None],
            rows,
            num_early=forward.num_early,
            needs_logits=forward.needs_logits or forward.needs_candidates,
        )

    def _rows_of(self, forward: Forward) -> tuple[Tensor, Visible, Tensor | None, slice]:
        """Ids, what they see of each other, where the adapter acts, and which are judged."""
        num_masks = sum(forward.sizes)
        mask_id = self.model.config.mask_id
        ids = forward.chain + [mask_id] * num_masks
        ids_T = torch.tensor(ids, dtype=torch.long, device=self.device)
        rows = slice(forward.num_unjudged, len(ids))
        if not num_masks:
            return ids_T, "causal", None, rows
        assert len(forward.sizes) == len(forward.chain)
        return ids_T, Branches(forward.sizes), ids_T == mask_id, rows

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
