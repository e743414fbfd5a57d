"""Forwards of the network over cached sequences. Knows no policy, request or text.

Three kinds, the only places where the engine touches the device:
`prefill` (causal, base, no logits but the last row's), `denoise` (canvas attention,
adapter on MASK rows, its K/V are scratch) and `commit` (causal, base, its K/V stay).
"""

import torch
from torch import Tensor

from model.network import KVCache, Transformer
from sampler.canvas import Canvas
from sampler.kv_cache import UNKNOWN, CachedSequence


class Runner:
    """Owns the device. Every method blocks until its forward is done."""

    def __init__(self, model: Transformer) -> None:
        self.model = model
        parameter = next(model.parameters())
        self.device, self.dtype = parameter.device, parameter.dtype
        self.num_forwards = 0

    def allocate(self, num_positions: int) -> KVCache:
        """KV tensors for one sequence."""
        return KVCache.allocate(
            self.model.config, num_positions, dtype=self.dtype, device=self.device
        )

    @torch.inference_mode()
    def prefill(self, sequence: CachedSequence, tokens: list[int], num_logits: int) -> Tensor:
        """Append context tokens; returns the logits (R, V) of the last `num_logits` of them."""
        self.num_forwards += 1
        ids_BT = torch.tensor([tokens], dtype=torch.long, device=self.device)
        rows = slice(len(tokens) - num_logits, len(tokens))
        logits_BRV: Tensor = self.model(
            ids_BT, cache=sequence.kv, start=len(sequence.tokens), attention="causal", rows=rows
        )
        unknown = [UNKNOWN] * (len(tokens) - num_logits)
        sequence.extend(tokens, unknown + logits_BRV[0].argmax(-1).tolist())
        return logits_BRV[0]

    @torch.inference_mode()
    def denoise(self, sequence: CachedSequence, canvas: Canvas) -> Tensor:
        """Logits (L-1, V) for slots 1 … L-1 of the canvas, from rows 0 … L-2."""
        assert canvas.start == len(sequence.tokens)
        self.num_forwards += 1
        logits_BRV: Tensor = self.model(
            canvas.tokens_L[None],
            cache=sequence.kv,
            start=canvas.start,
            attention="canvas",
            gate_BT=canvas.is_masked_L[None],
            rows=slice(0, canvas.num_slots - 1),
        )
        return logits_BRV[0]

    @torch.inference_mode()
    def commit(self, sequence: CachedSequence, canvas: Canvas) -> Tensor:
        """Write the canvas's K/V for good and return the AR logits (L, V) of its rows.

        Row i is the AR distribution after slot i. The caller extends the sequence by the slots it
        accepts; K/V behind them is scratch.
        """
        assert canvas.start == len(sequence.tokens)
        assert not canvas.has_masked
        self.num_forwards += 1
        logits_BRV: Tensor = self.model(
            canvas.tokens_L[None], cache=sequence.kv, start=canvas.start, attention="causal"
        )
        return logits_BRV[0]
