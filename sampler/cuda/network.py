"""The network over a few rows behind contexts whose lengths only the device knows.

The same arithmetic as `model.network.Transformer`, told as nine launches a layer; the residual
stream and all sums are float32, products are in the weights' type. Reads the Transformer's weights
in place. Knows neither sampling nor graphs.

Shape suffixes: R rows, D width, V vocabulary.
"""

from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor

from model.adapter import LayerUpdate
from model.coupling import Candidates
from model.network import Block, Transformer, rotary_table
from sampler.cuda.arena import Arena, Contexts
from sampler.cuda.kernel_set import KernelSet
from sampler.cuda.layout import Layout
from sampler.kernels.triton.couple import Tables
from sampler.kernels.triton.head import Verdict
from sampler.kernels.triton.linear import Update


@dataclass(frozen=True)
class _Updates:
    """The adapter's part of one layer."""

    qkv: Update
    out: Update
    gate_up: Update
    down: Update


class DeviceNetwork:
    """Forwards without a word to the host: no allocation of its own outlives one."""

    def __init__(self, model: Transformer, arena: Arena, kernels: KernelSet) -> None:
        self.config = model.config
        self.arena = arena
        self.kernels = kernels
        self.embedding_VD = model.embedding.weight.detach()
        self.head_VD = model.head.weight.detach()
        self._norm_D = model.norm.weight.detach()
        self._blocks = [cast(Block, block) for block in model.blocks]
        dtype, device = self.embedding_VD.dtype, self.embedding_VD.device
        self.cos_TK, self.sin_TK = rotary_table(self.config, device, dtype)
        adapter = model.adapter
        self.has_adapter = adapter is not None
        self._tables: Tables | None = None
        if adapter is None:
            self._mask_D = self.embedding_VD.mean(dim=0)
            self._updates: list[_Updates] = []
        else:
            self._mask_D = adapter.mask_embedding.detach().to(dtype)
            layers = [cast(LayerUpdate, layer) for layer in adapter.layers]
            self._updates = [
                _Updates(
                    Update.of(layer.qkv, dtype),
                    Update.of(layer.out, dtype),
                    Update.of(layer.gate_up, dtype),
                    Update.of(layer.down, dtype),
                )
                for layer in layers
            ]
            if adapter.coupling is not None:
                self._tables = Tables.of(adapter.coupling, self.embedding_VD, self.head_VD)

    def hidden(
        self,
        ids_R: Tensor,
        layout: Layout,
        contexts: Contexts,
        bucket: int,
        is_gated_R: Tensor | None = None,
    ) -> Tensor:
        """What the head turns into logits (R, D), normed.

        K/V of a sequence's row i go to slot `length + i`.

        Args:
            ids_R: tokens; the id behind the vocabulary is MASK.
            layout: where the rows stand and whom they see.
            contexts: what the rows of each sequence stand behind.
            bucket: slots that are looked at, for each sequence at least its context's and its rows.
            is_gated_R: rows on which the adapter acts; None for none.
        """
        kernels, eps = self.kernels, self.config.norm_eps
        dtype = self.embedding_VD.dtype
        place = (layout.bounds, contexts.sequences_B, contexts.lengths_B)
        x_RD = kernels.embed(ids_R, self.embedding_VD, self._mask_D)
        parts_PRD: Tensor | None = None
        for index, block in enumerate(self._blocks):
            update = self._updates[index] if self.has_adapter and is_gated_R is not None else None
            attention, ffn = block.attention, block.ffn
            keys, values = self.arena.layer(index)
            normed_RD = kernels.add_norm(x_RD, parts_PRD, block.attention_norm.weight, eps, dtype)
            queries = kernels.rotate_and_store(
                kernels.linear(normed_RD, attention.qkv.weight, update and update.qkv, is_gated_R),
                attention.qkv.bias,
                self.cos_TK,
                self.sin_TK,
                layout.offsets_R,
                *place,
                keys,
                values,
            )
            attended = kernels.attention(
                queries, keys, values, layout.is_visible_RR, *place, bucket
            )
            parts_PRD = kernels.linear(
                attended, attention.out.weight, update and update.out, is_gated_R
            )
            normed_RD = kernels.add_norm(x_RD, parts_PRD, block.ffn_norm.weight, eps, dtype)
            product = kernels.swiglu(
                normed_RD, ffn.gate_up.weight, update and update.gate_up, is_gated_R
            )
            parts_PRD = kernels.linear(product, ffn.down.weight, update and update.down, is_gated_R)
        return kernels.add_norm(x_RD, parts_PRD, self._norm_D, eps, dtype)

    def judge(
        self,
        hidden_RD: Tensor,
        wanted_R: Tensor,
        layout: Layout | None = None,
        is_gated_R: Tensor | None = None,
    ) -> Verdict:
        """What the head says about normed rows; see `kernels.triton.head`.

        Args:
            hidden_RD: the rows.
            wanted_R: tokens that are asked about.
            layout: says where branches are, whose tokens are coupled if the adapter does that; None
                where there are none.
            is_gated_R: the rows of branches, and maybe others; None with no layout.
        """
        if layout is None or is_gated_R is None or not self.has_coupling:
            return self.kernels.judge(hidden_RD, self.head_VD, wanted_R)
        verdict = self.kernels.judge(hidden_RD, self.head_VD, wanted_R, is_gated_R)
        assert verdict.candidates is not None
        self.couple(
            verdict.tokens_R,
            verdict.confidence_R,
            verdict.candidates,
            layout.starts_C,
            layout.sizes_C,
        )
        return verdict

    @property
    def has_coupling(self) -> bool:
        """Whether drafts of a branch are to know each other."""
        return self._tables is not None

    def couple(
        self,
        tokens_R: Tensor,
        confidence_R: Tensor,
        candidates: Candidates,
        starts_C: Tensor,
        sizes_C: Tensor,
    ) -> None:
        """See `kernels.triton.couple`."""
        self.kernels.couple(tokens_R, confidence_R, candidates, self._tables, starts_C, sizes_C)

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return self.embedding_VD.device
