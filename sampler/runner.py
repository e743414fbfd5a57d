"""Forwards of the network over cached sequences. Knows no policy, request or text.

Three kinds, the only places where the engine touches the device:
`prefill` (causal, base, no logits but the last row's), `denoise` (canvas attention,
adapter on MASK rows, its K/V are scratch) and `commit` (causal, base, its K/V stay).
"""

import torch
from torch import Tensor

from model.masks import Attention
from model.network import KVCache, Transformer
from sampler.canvas import Canvas
from sampler.judgment import Judgment
from sampler.kernels.cpu.native import NativeCache, NativeModel
from sampler.kv_cache import UNKNOWN, CachedSequence
from sampler.policy import predict


class Runner:
    """Owns the device. Every method blocks until its forward is done."""

    def __init__(self, model: Transformer | NativeModel) -> None:
        self.model = model
        self.device: torch.device = (
            model.device if isinstance(model, NativeModel) else next(model.parameters()).device
        )
        self.num_forwards = 0

    def allocate(self, num_positions: int) -> KVCache | NativeCache:
        """KV tensors for one sequence."""
        if isinstance(self.model, NativeModel):
            return self.model.allocate(num_positions)
        dtype = next(self.model.parameters()).dtype
        return KVCache.allocate(self.model.config, num_positions, dtype=dtype, device=self.device)

    @torch.inference_mode()
    def prefill(
        self,
        sequence: CachedSequence,
        tokens: list[int],
        num_judged: int,
        *,
        needs_logits: bool = False,
    ) -> Judgment:
        """Append context tokens; judges the last `num_judged` of them."""
        ids_BT = torch.tensor([tokens], dtype=torch.long, device=self.device)
        rows = slice(len(tokens) - num_judged, len(tokens))
        judgment = self._forward(ids_BT, sequence, "causal", None, rows, needs_logits=needs_logits)
        unknown = [UNKNOWN] * (len(tokens) - num_judged)
        sequence.extend(tokens, unknown + judgment.tokens_L.tolist())
        return judgment

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
            needs_confidence=True,
        )

    @torch.inference_mode()
    def commit(
        self, sequence: CachedSequence, canvas: Canvas, *, needs_logits: bool = False
    ) -> Judgment:
        """Write the canvas's K/V for good and say what the AR model thinks of each row.

        Row i is the AR distribution after slot i. The caller extends the sequence by the slots it
        accepts; K/V behind them is scratch.
        """
        assert canvas.start == len(sequence.tokens)
        assert not canvas.has_masked
        ids_BT, rows = canvas.tokens_L[None], slice(0, canvas.num_slots)
        return self._forward(ids_BT, sequence, "causal", None, rows, needs_logits=needs_logits)

    def _forward(
        self,
        ids_BT: Tensor,
        sequence: CachedSequence,
        attention: Attention,
        gate_BT: Tensor | None,
        rows: slice,
        *,
        needs_logits: bool,
        needs_confidence: bool = False,
    ) -> Judgment:
        """One forward behind the tokens of `sequence`; judges `rows`."""
        self.num_forwards += 1
        start, kv = len(sequence.tokens), sequence.kv
        if isinstance(self.model, NativeModel):
            assert isinstance(kv, NativeCache)
            assert isinstance(attention, str)
            if not needs_logits:
                return self.model.judge(
                    ids_BT, cache=kv, start=start, attention=attention, gate_BT=gate_BT, rows=rows
                )
            logits_BRV = self.model(
                ids_BT, cache=kv, start=start, attention=attention, gate_BT=gate_BT, rows=rows
            )
        else:
            assert isinstance(kv, KVCache)
            logits_BRV = self.model(
                ids_BT, cache=kv, start=start, attention=attention, gate_BT=gate_BT, rows=rows
            )
        if needs_confidence:
            return Judgment(*predict(logits_BRV[0]), logits_BRV[0])
        return Judgment(logits_BRV[0].argmax(-1), None, logits_BRV[0])
