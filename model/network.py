"""The whole transformer, Qwen2 and Llama families, top to bottom. The cache is an argument.

Knows neither files, tokens' meaning nor sampling. Rows that are not gated run the base weights and
nothing else: the adapter never changes them.

Shape suffixes: B batch, T rows of this call, S slots of the cache, R rows with logits, D width,
H query heads, G key/value heads, K head dim, F feed-forward width, V vocabulary; N = H/G · T, the
rows of all query heads that share a key/value head.
"""

from dataclasses import dataclass
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from model.adapter import Adapter, LayerUpdate, LowRank
from model.config import ModelConfig
from model.coupling import Candidates, choose_coupled
from model.early import EarlyKV
from model.masks import Attention, Branches, Tile, attention_tiles

CPU_TILE_ROWS = 128
"""Rows that attend at once on a CPU. Causal rows need no slots behind the last of their tile, so
smaller tiles skip more masked work; larger ones keep the matrix units busier."""


class KVCache:
    """Keys and values of one sequence (or a batch of equal length); tensors only, no policy."""

    def __init__(self, keys: list[Tensor], values: list[Tensor]) -> None:
        self.keys = keys
        self.values = values

    @staticmethod
    def allocate(
        config: ModelConfig,
        num_positions: int,
        *,
        dtype: torch.dtype,
        device: torch.device,
        batch_size: int = 1,
    ) -> "KVCache":
        """`num_positions` empty slots: one (B, G, S, K) tensor of each kind per layer."""
        shape = (batch_size, config.num_kv_heads, num_positions, config.head_dim)

        def buffers() -> list[Tensor]:
            return [
                torch.zeros(shape, dtype=dtype, device=device) for _ in range(config.num_layers)
            ]

        return KVCache(buffers(), buffers())

    def copy_from(self, other: "KVCache", num_positions: int) -> None:
        """Take the first so many positions of another cache of the same network."""
        for mine, theirs in zip(self.keys + self.values, other.keys + other.values, strict=True):
            mine[:, :, :num_positions] = theirs[:, :, :num_positions]


class Transformer(nn.Module):
    """Token ids in, logits of the next tokens out."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.config = config
        self.embedding = nn.Embedding(config.vocab_size, config.width)
        self.blocks = nn.ModuleList(Block(config) for _ in range(config.num_layers))
        self.norm = RMSNorm(config.width, config.norm_eps)
        self.head = nn.Linear(config.width, config.vocab_size, bias=False)
        if config.is_tied:
            self.head.weight = self.embedding.weight
        self.adapter: Adapter | None = None
        self.early: EarlyKV | None = None
        self._rope: tuple[Tensor, Tensor] | None = None

    def forward(
        self,
        ids_BT: Tensor,
        *,
        cache: KVCache | None = None,
        start: int = 0,
        attention: Attention = "causal",
        gate_BT: Tensor | None = None,
        rows: slice | None = None,
        num_early: int = 0,
    ) -> Tensor:
        """Logits (B, R, V) in float32 of the rows named by `rows` (default: all).

        Row i stands at position `start + i`, or where `Branches` place it, and predicts the token
        at the position after its own.

        Args:
            ids_BT: token ids; `config.mask_id` is MASK.
            cache: K/V of the rows are written to its slots `start` …, and every row sees the slots
                before `start`. Slots at and after `start` are scratch until the caller counts them.
            start: position of row 0; must be 0 without a cache.
            attention: `causal`: a row also sees the rows up to itself; `canvas`: all rows of this
                call, but for row 0, which sees itself alone; `Branches`: a chain of drafts and what
                may follow them; or a bool tensor broadcastable to (B, 1, T, start + T), True where
                a row may attend (training).
            gate_BT: bool; the low-rank adapter acts on these rows only.
            rows: rows that get logits. `slice(0, 0)` asks for none, which is what prefill needs:
                the head and the last layer's output are then skipped.
            num_early: the first rows of the call, not gated and without logits, leave early.
        """
        x_BRD = self.hidden(
            ids_BT,
            cache=cache,
            start=start,
            attention=attention,
            gate_BT=gate_BT,
            rows=rows,
            is_early_T=first_rows(ids_BT, num_early),
        )
        logits_BRV: Tensor = self.head(x_BRD)
        return logits_BRV.float()

    def hidden(
        self,
        ids_BT: Tensor,
        *,
        cache: KVCache | None = None,
        start: int = 0,
        attention: Attention = "causal",
        gate_BT: Tensor | None = None,
        rows: slice | None = None,
        positions_T: Tensor | None = None,
        keeps_kv: bool = True,
        is_early_T: Tensor | None = None,
    ) -> Tensor:
        """What the head turns into logits: (B, R, D), normed, in the network's dtype.

        Training asks for this, because the logits of all rows at once would not fit.

        Args:
            ids_BT: as in `forward`, and so on.
            cache: likewise.
            start: likewise.
            attention: likewise.
            gate_BT: likewise.
            rows: likewise.
            positions_T: where the rows stand, if not at `start` and following.
            keeps_kv: whether the cache gets the rows' K/V. If not, it is only read, and gradients
                flow through the rows' own K/V.
            is_early_T: rows, none of them gated, whose K/V of the upper layers are those of `early`
                where the network has such a map, but for a row at position 0. They are computed to
                the end here, for nothing, or to teach with.
        """
        _, num_rows = ids_BT.shape
        assert cache is not None or start == 0, "without a cache there is nothing before row 0"
        if isinstance(attention, Branches):
            assert attention.num_rows == num_rows
            positions_T = start + torch.tensor(attention.positions(), device=ids_BT.device)
        cos_TK, sin_TK = self._rotary(start, num_rows, positions_T)
        x_BTD = self._embed(ids_BT)
        tiles = self._tiles(attention, range(num_rows), start, x_BTD)
        last_tiles = tiles
        if rows is not None:
            assert rows.step in (None, 1), "rows with logits are one after the other"
            last_tiles = self._tiles(attention, range(num_rows)[rows], start, x_BTD)
        updates = self.adapter.layers if self.adapter is not None and gate_BT is not None else None
        gate_BT1 = None if gate_BT is None else gate_BT[..., None].to(x_BTD.dtype)
        early: list[EarlyRows | None] = [None] * len(self.blocks)
        if is_early_T is not None and positions_T is not None:
            is_early_T = is_early_T & (positions_T > 0)
        elif is_early_T is not None and start == 0:
            is_early_T = is_early_T & (torch.arange(num_rows, device=ids_BT.device) > 0)
        for index, block in enumerate(self.blocks):
            is_last = index == len(self.blocks) - 1
            if is_early_T is not None and self.early is not None and index == self.early.layer:
                assert isinstance(block, Block)
                kv_of_layers = self.early(block.attention_norm(x_BTD))
                early[index:] = [EarlyRows(is_early_T[:, None], *kv) for kv in kv_of_layers]
            x_BTD = block(
                x_BTD,
                cos_TK,
                sin_TK,
                last_tiles if is_last else tiles,
                kv=None if cache is None else (cache.keys[index], cache.values[index]),
                start=start,
                keeps_kv=keeps_kv,
                update=None if updates is None else updates[index],
                gate_BT1=gate_BT1,
                rows=rows if is_last else None,
                early=early[index],
            )
        normed_BRD: Tensor = self.norm(x_BTD)
        return normed_BRD

    def couple(self, candidates: Candidates, first: int) -> tuple[list[int], list[float]]:
        """Choose the tokens of a branch behind the token `first`, see `choose_coupled`."""
        assert self.adapter is not None
        assert self.adapter.coupling is not None
        head = None if self.config.is_tied else partial(_rows, self.head.weight)
        embed = partial(_rows, self.embedding.weight)
        return choose_coupled(self.adapter.coupling, candidates, first, embed, head)

    def _embed(self, ids_BT: Tensor) -> Tensor:
        """Embeddings; MASK gets the adapter's learned row, or the mean embedding without one."""
        is_mask_BT = ids_BT == self.config.mask_id
        x_BTD: Tensor = self.embedding(ids_BT.masked_fill(is_mask_BT, 0))
        if self.adapter is not None:
            mask_D = self.adapter.mask_embedding.to(x_BTD.dtype)
        elif bool(is_mask_BT.any()):
            mask_D = self.embedding.weight.mean(dim=0)
        else:
            return x_BTD
        return torch.where(is_mask_BT[..., None], mask_D, x_BTD)

    def _tiles(self, attention: Attention, rows: range, start: int, x_BTD: Tensor) -> list[Tile]:
        """What the given rows of `x_BTD` see, cut as suits the device."""
        num_rows = x_BTD.shape[1]
        return attention_tiles(
            attention,
            rows,
            start,
            num_rows,
            tile_rows=CPU_TILE_ROWS if x_BTD.device.type == "cpu" else max(num_rows, 1),
            group_size=self.config.num_heads // self.config.num_kv_heads,
            dtype=x_BTD.dtype,
            device=x_BTD.device,
        )

    def _rotary(
        self, start: int, num_rows: int, positions_T: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        """Cosine and sine tables (T, K) of the rows' positions, computed once for all positions."""
        device, dtype = self.embedding.weight.device, self.embedding.weight.dtype
        if self._rope is None or self._rope[0].device != device or self._rope[0].dtype != dtype:
            with torch.inference_mode(mode=False):  # a table made there could not serve training
                self._rope = rotary_table(self.config, device, dtype)
        cos_SK, sin_SK = self._rope
        if positions_T is not None:
            return cos_SK[positions_T], sin_SK[positions_T]
        end = start + num_rows
        if end > len(cos_SK):
            raise ValueError(
                f"{end} tokens are too many for this model: its limit is {len(cos_SK)}."
            )
        return cos_SK[start:end], sin_SK[start:end]


@dataclass(frozen=True)
class EarlyRows:
    """What `EarlyKV` makes of the rows of a call for one layer."""

    is_leaving_T1: Tensor
    """The rows it is for."""
    k_BGTK: Tensor
    """Not yet rotated."""
    v_BGTK: Tensor

    def put(self, own_BGTK: Tensor, made_BGTK: Tensor) -> Tensor:
        """`own_BGTK` with what is made in the place of the rows that leave."""
        return torch.where(self.is_leaving_T1, made_BGTK, own_BGTK)


class Block(nn.Module):
    """Attention and feed-forward, each behind a norm, each added to the residual stream."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.attention_norm = RMSNorm(config.width, config.norm_eps)
        self.attention = SelfAttention(config)
        self.ffn_norm = RMSNorm(config.width, config.norm_eps)
        self.ffn = FeedForward(config)

    def forward(
        self,
        x_BTD: Tensor,
        cos_TK: Tensor,
        sin_TK: Tensor,
        tiles: list[Tile],
        *,
        kv: tuple[Tensor, Tensor] | None,
        start: int,
        keeps_kv: bool,
        update: LayerUpdate | None,
        gate_BT1: Tensor | None,
        rows: slice | None,
        early: EarlyRows | None = None,
    ) -> Tensor:
        """The stream (B, R, D) after this layer, computed to the end for `rows` only."""
        normed_BTD = self.attention_norm(x_BTD)
        attended_BRD = self.attention(
            normed_BTD, cos_TK, sin_TK, tiles, kv, start, keeps_kv, update, gate_BT1, rows, early
        )
        if rows is not None:
            x_BTD = x_BTD[:, rows]
            gate_BT1 = None if gate_BT1 is None else gate_BT1[:, rows]
        x_BRD = x_BTD + attended_BRD
        result: Tensor = x_BRD + self.ffn(self.ffn_norm(x_BRD), update, gate_BT1)
        return result


class SelfAttention(nn.Module):
    """Grouped-query attention with rotary positions over the cached slots and this call's rows."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.num_heads, self.num_kv_heads = config.num_heads, config.num_kv_heads
        self.head_dim = config.head_dim
        q_width = config.num_heads * config.head_dim
        kv_width = config.num_kv_heads * config.head_dim
        self.widths = [q_width, kv_width, kv_width]
        self.qkv = nn.Linear(config.width, sum(self.widths), bias=config.has_qkv_bias)
        self.out = nn.Linear(q_width, config.width, bias=False)

    def forward(
        self,
        x_BTD: Tensor,
        cos_TK: Tensor,
        sin_TK: Tensor,
        tiles: list[Tile],
        kv: tuple[Tensor, Tensor] | None,
        start: int,
        keeps_kv: bool,
        update: LayerUpdate | None,
        gate_BT1: Tensor | None,
        rows: slice | None,
        early: EarlyRows | None,
    ) -> Tensor:
        """Attention output (B, R, D) of the rows in `tiles`; their K/V go to the cache if kept."""
        num_rows = x_BTD.shape[1]
        qkv = adapted(self.qkv, x_BTD, None if update is None else update.qkv, gate_BT1)
        q, k, v = torch.split(qkv, self.widths, dim=-1)
        q_BHTK = self._heads(q, self.num_heads)
        k_BGTK, v_BGTK = self._heads(k, self.num_kv_heads), self._heads(v, self.num_kv_heads)
        if early is not None:
            k_BGTK, v_BGTK = early.put(k_BGTK, early.k_BGTK), early.put(v_BGTK, early.v_BGTK)
        k_BGTK = rotate(k_BGTK, cos_TK, sin_TK)
        if kv is not None and not keeps_kv:
            k_BGTK = torch.cat([kv[0][:, :, :start], k_BGTK], dim=2)
            v_BGTK = torch.cat([kv[1][:, :, :start], v_BGTK], dim=2)
        elif kv is not None:
            end = start + num_rows
            assert end <= kv[0].shape[2], "the cache has no slot for the last rows"
            kv[0][:, :, start:end] = k_BGTK
            kv[1][:, :, start:end] = v_BGTK
            k_BGTK, v_BGTK = kv[0][:, :, :end], kv[1][:, :, :end]
        if not tiles:
            return x_BTD[:, :0]
        q_BHTK = rotate(q_BHTK, cos_TK, sin_TK)
        attended = torch.cat([attend(q_BHTK, k_BGTK, v_BGTK, tile) for tile in tiles], dim=1)
        if rows is not None and gate_BT1 is not None:
            gate_BT1 = gate_BT1[:, rows]
        return adapted(self.out, attended, None if update is None else update.out, gate_BT1)

    def _heads(self, x: Tensor, num_heads: int) -> Tensor:
        return x.view(*x.shape[:2], num_heads, self.head_dim).transpose(1, 2)


def first_rows(ids_BT: Tensor, num_rows: int) -> Tensor | None:
    """(T,) bool: the first so many rows of a call; None where there are none."""
    if not num_rows:
        return None
    return torch.arange(ids_BT.shape[1], device=ids_BT.device) < num_rows


def _rows(weight_VD: Tensor, ids_N: Tensor) -> Tensor:
    return weight_VD[ids_N.to(weight_VD.device)]


def attend(q_BHTK: Tensor, k_BGSK: Tensor, v_BGSK: Tensor, tile: Tile) -> Tensor:
    """Attention (B, rows, H · K) of one tile's rows.

    Query heads that share a key/value head are stacked along the rows, so that keys and values are
    read once for all of them: twelve times as fast as head by head for 1 row over 1,024 slots.
    """
    q_BHTK = q_BHTK[:, :, tile.rows]
    batch_size, num_heads, num_rows, head_dim = q_BHTK.shape
    num_kv_heads = k_BGSK.shape[1]
    attended_BGNK = F.scaled_dot_product_attention(
        q_BHTK.reshape(batch_size, num_kv_heads, -1, head_dim),
        k_BGSK[:, :, : tile.num_slots],
        v_BGSK[:, :, : tile.num_slots],
        attn_mask=tile.bias,
    )
    attended_BHTK = attended_BGNK.reshape(batch_size, num_heads, num_rows, head_dim)
    return attended_BHTK.transpose(1, 2).reshape(batch_size, num_rows, -1)


class FeedForward(nn.Module):
    """SwiGLU."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.gate_up = nn.Linear(config.width, 2 * config.ffn_width, bias=False)
        self.down = nn.Linear(config.ffn_width, config.width, bias=False)

    def forward(self, x_BTD: Tensor, update: LayerUpdate | None, gate_BT1: Tensor | None) -> Tensor:
        """(B, T, D) to (B, T, D)."""
        gate_BTF, up_BTF = adapted(
            self.gate_up, x_BTD, None if update is None else update.gate_up, gate_BT1
        ).chunk(2, dim=-1)
        return adapted(
            self.down, F.silu(gate_BTF) * up_BTF, None if update is None else update.down, gate_BT1
        )


def adapted(
    linear: nn.Module, x: Tensor, update: LowRank | None, gate_BT1: Tensor | None
) -> Tensor:
    """The linear layer, plus its low-rank update on gated rows; others get the base's."""
    y: Tensor = linear(x)
    if update is None or gate_BT1 is None:
        return y
    return torch.where(gate_BT1.bool(), y + update(x), y)


class RMSNorm(nn.Module):
    """Root mean square norm with a learned scale (Zhang & Sennrich 2019)."""

    def __init__(self, width: int, eps: float) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(width))
        self.eps = eps

    def forward(self, x: Tensor) -> Tensor:
        """Same shape as `x`."""
        return F.rms_norm(x, self.weight.shape, self.weight, self.eps)


def rotate(x_BHTK: Tensor, cos_TK: Tensor, sin_TK: Tensor) -> Tensor:
    """Rotary position embedding, halves convention (RoFormer 2104.09864; Hugging Face layout)."""
    low, high = x_BHTK.chunk(2, dim=-1)
    return x_BHTK * cos_TK + torch.cat((-high, low), dim=-1) * sin_TK


def rotary_table(
    config: ModelConfig, device: torch.device, dtype: torch.dtype
) -> tuple[Tensor, Tensor]:
    """Cosine and sine (S, K) for all positions of the model, computed in float32."""
    exponents = torch.arange(0, config.head_dim, 2, device=device).float() / config.head_dim
    frequencies = config.rope_theta**-exponents
    if config.rope_factors is not None:
        frequencies = frequencies / torch.tensor(config.rope_factors, device=device)
    angles = torch.outer(torch.arange(config.max_positions, device=device).float(), frequencies)
    angles_SK = torch.cat((angles, angles), dim=-1)
    return angles_SK.cos().to(dtype), angles_SK.sin().to(dtype)
