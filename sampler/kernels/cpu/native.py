"""The network on native CPU kernels: the surface of `model.network.Transformer`, integers inside.

Weights (eight bits, of a large ffn six) and activations (eight) have a scale per 64 inputs, their
products are sums of integers, keys, values and the weights of attention int16, everything else
float32. A row's logits do not depend on the rows beside it: T rows at once give, bit for bit, what
one by one gives, on every path and with any number of threads.

Of a large vocabulary `judge` looks at whole weights for the likeliest ids only (`score_vocabulary`
in vocabulary.h); logits, if asked for, are whole.

Knows no sampling. Shape suffixes as in `model.network`.
"""

import contextlib
import ctypes
import math
import mmap
import os
import weakref
from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from model.adapter import Adapter, LowRank
from model.config import ModelConfig
from model.coupling import NUM_CANDIDATES, Candidates, Coupling
from model.early import EarlyKV
from model.layout import places
from model.masks import Branches
from model.network import Transformer, rotary_table
from model.weights import StoredWeights, one_torch_thread
from sampler.forward import InterruptedForwardError
from sampler.judgment import Judgment
from sampler.kernels.cpu.library import (
    LINEARS,
    MATRICES,
    VECTORS,
    Branch,
    Cache,
    Call,
    NativeError,
    Shape,
    load_library,
)
from sampler.kernels.cpu.segments import TILE, Arranged, NativeCache, Segment, Visible, arrange

PANEL = 32
"""Of network.h."""
ROWS_AT_ONCE = 1024
"""Rows of a network in PyTorch that are widened to float32 in one go."""
NUM_DRAFT_IDS = 1 << 16
"""Ids that rows of branches, which are drafts, choose among: a byte-pair vocabulary is in the order
in which it was learnt, and 97.5 % of the tokens of code are among the first so many of Qwen's."""
PATH_VARIABLE = "SEED_LSP_CPU_PATH"
"""Environment variable that forces a code path: amx, avx512, avxvnni, avx2 or portable."""


class NativeModel:
    """Token ids in, logits or the most likely ids out."""

    device = torch.device("cpu")
    dtype = torch.float32

    def __init__(
        self,
        weights: StoredWeights | Transformer,
        *,
        threads: int | None = None,
        path: str | None = None,
    ):
        """Read and pack weights and adapter.

        Args:
            weights: in their file, to be read piece by piece; or a network on the CPU, in any
                floating type, which is left as it is.
            threads: how many compute; as many as PyTorch uses by default.
            path: code path; by default what the environment names, else the best one here.

        Raises:
            NativeError: if there is no library or no such path, or the network's shape does not
                suit the kernels.
            AdapterError: if the adapter's file does not fit.
        """
        config = weights.config
        check_shape(config)
        self._library = load_library()
        self.config = config
        path = path if path is not None else os.environ.get(PATH_VARIABLE, "")
        self.threads = threads or torch.get_num_threads()
        handle = self._library.seed_open(
            Shape(
                config.num_layers,
                config.width,
                config.num_heads,
                config.num_kv_heads,
                config.head_dim,
                config.ffn_width,
                config.vocab_size,
                config.norm_eps,
            ),
            self.threads,
            path.encode(),
        )
        if handle is None:
            raise NativeError(f"The native kernels have no path {path!r} on this machine.")
        self._handle = ctypes.c_void_p(handle)
        weakref.finalize(self, self._library.seed_close, self._handle)
        self._adapter: Adapter | None = None
        self._take(weights)
        with one_torch_thread():  # only now, when the update of the base is freed
            if isinstance(weights, StoredWeights):
                self.adapter, early = weights.read_adapter(), weights.read_early()
            else:
                self.adapter, early = weights.adapter, weights.early
            self._set_early(early)
        self._library.seed_trim()

    @property
    def path(self) -> str:
        """Name of the code path in use."""
        name: bytes = self._library.seed_path(self._handle)
        return name.decode()

    @property
    def weight_bytes(self) -> int:
        """Bytes of all packed weights."""
        return int(self._library.seed_weight_bytes(self._handle))

    @property
    def adapter(self) -> Adapter | None:
        """The gated adapter, if there is one; setting it packs it.

        What one gets has shapes and no numbers: those are with the kernels, and only there.
        """
        return self._adapter

    @adapter.setter
    def adapter(self, adapter: Adapter | None) -> None:
        self._library.seed_enable_update(self._handle, int(adapter is not None))
        self._adapter, mask_D = None, self._mean_embedding_D
        if adapter is not None:
            with torch.device("meta"):
                self._adapter = Adapter(self.config, adapter.config)
            self._set_coupling(adapter.coupling)
            mask_D = adapter.mask_embedding.detach().float()
            for index, layer in enumerate(adapter.layers):
                for kind in LINEARS:
                    self._set_update(index, kind, getattr(layer, kind))
        self._set_vector("mask_embedding", mask_D)

    def allocate(self, num_positions: int) -> NativeCache:
        """Room for a sequence. Its memory is the system's until it is written to."""
        config = self.config
        num_tiles = -(-num_positions // TILE)
        heads = (config.num_layers, config.num_kv_heads)
        key_scales, value_scales = (
            _untouched((*heads, num_tiles * TILE), np.float32) for _ in range(2)
        )
        return NativeCache(
            _untouched((*heads, num_tiles, config.head_dim // 2, TILE, 2), np.int16),
            key_scales,
            _untouched((*heads, num_tiles * TILE // 2, config.head_dim, 2), np.int16),
            value_scales,
            num_positions,
        )

    def __call__(
        self,
        ids_BT: Tensor,
        *,
        cache: NativeCache | None = None,
        start: int = 0,
        attention: Visible = "causal",
        gate_BT: Tensor | None = None,
        rows: slice | None = None,
        num_early: int = 0,
    ) -> Tensor:
        """Logits (1, R, V) in float32; see `Transformer.forward`. B is 1."""
        segment = self._segment(ids_BT, cache, start, attention, gate_BT, rows, num_early)
        logits_RV = torch.empty(len(segment.judged), self.config.vocab_size)
        self._run([segment], arrange([segment]), logits_RV=logits_RV)
        return logits_RV[None]

    def judge(
        self,
        ids_BT: Tensor,
        *,
        cache: NativeCache | None = None,
        start: int = 0,
        attention: Visible = "causal",
        gate_BT: Tensor | None = None,
        rows: slice | None = None,
        num_early: int = 0,
        needs_logits: bool = False,
    ) -> Judgment:
        """What the logits say that a call would give, see `Judgment`; with them if asked."""
        segment = self._segment(ids_BT, cache, start, attention, gate_BT, rows, num_early)
        return self.judge_together([segment], needs_logits=needs_logits)[0]

    def judge_together(
        self,
        segments: Sequence[Segment],
        *,
        needs_logits: bool = False,
        may_interrupt: bool = False,
    ) -> list[Judgment]:
        """One forward over rows of several sequences, see `arrange`; what it says of each.

        No row's result depends on the other segments.

        Raises:
            InterruptedForwardError: if it may be interrupted and was.
        """
        arranged = arrange(segments)
        num_rows = len(arranged.judged)
        ids_R, shares_R = torch.empty(num_rows, dtype=torch.int32), torch.empty(num_rows)
        confidence_R = torch.empty(num_rows)
        logits_RV = torch.empty(num_rows, self.config.vocab_size) if needs_logits else None
        parts: tuple[Tensor, ...] = ()
        adapter = self._adapter
        is_coupled = adapter is not None and adapter.coupling is not None
        if any(one.needs_candidates or (is_coupled and one.gate_T is not None) for one in segments):
            ids_RK = torch.zeros(num_rows, NUM_CANDIDATES, dtype=torch.int32)
            hidden_RD = torch.zeros(num_rows, self.config.width)
            parts = (ids_RK, torch.zeros(ids_RK.shape), hidden_RD)
        self._run(
            segments,
            arranged,
            logits_RV=logits_RV,
            judged=(ids_R, confidence_R, shares_R),
            candidates=parts,
            may_interrupt=may_interrupt,
        )
        found = Candidates(parts[2], parts[0].long(), parts[1]) if parts else None
        tokens_R = ids_R.long()
        return [
            Judgment(
                tokens_R[own],
                confidence_R[own],
                shares_R[own],
                None if logits_RV is None else logits_RV[own],
                found.rows(own) if found is not None and segment.is_ranked else None,
            )
            for own, segment in zip(arranged.found, segments, strict=True)
        ]

    def interrupt(self, is_on: bool) -> None:
        """Have forwards that may be interrupted end at their next layer, the one that runs too, or
        run to their end again. In any thread, at any time."""
        self._library.seed_interrupt(self._handle, int(is_on))

    def couple(self, candidates: Candidates, first: int) -> tuple[list[int], list[float]]:
        """Choose the tokens of a branch behind the token `first`, see `choose_coupled`."""
        num_rows, num_candidates = candidates.ids_LK.shape
        hidden_LD = candidates.hidden_LD.contiguous()
        ids_LK = candidates.ids_LK.to(torch.int32).contiguous()
        log_p_LK = candidates.log_p_LK.contiguous()
        tokens_L, shares_L = torch.empty(num_rows, dtype=torch.int32), torch.empty(num_rows)
        branch = Branch(
            num_rows,
            num_candidates,
            first,
            *(part.data_ptr() for part in (hidden_LD, ids_LK, log_p_LK, tokens_L, shares_L)),
        )
        self._library.seed_couple(self._handle, ctypes.byref(branch))
        return tokens_L.tolist(), shares_L.tolist()

    def _segment(
        self,
        ids_BT: Tensor,
        cache: NativeCache | None,
        start: int,
        attention: Visible,
        gate_BT: Tensor | None,
        rows: slice | None,
        num_early: int,
    ) -> Segment:
        assert len(ids_BT) == 1, "a segment is of one sequence"
        assert cache is not None or start == 0, "without a cache there is nothing before row 0"
        cache = cache or self.allocate(ids_BT.shape[1])
        gate_T = None if gate_BT is None else gate_BT[0]
        return Segment(ids_BT[0], cache, start, attention, gate_T, rows, num_early)

    def _run(
        self,
        segments: Sequence[Segment],
        arranged: Arranged,
        *,
        logits_RV: Tensor | None = None,
        judged: tuple[Tensor, ...] = (),
        candidates: tuple[Tensor, ...] = (),
        may_interrupt: bool = False,
    ) -> None:
        num_slots = max(segment.end for segment in segments)
        if num_slots > self.config.max_positions:
            raise ValueError(
                f"{num_slots} tokens are too many for this model: its limit is "
                f"{self.config.max_positions}."
            )
        for segment in segments:
            assert segment.end <= segment.cache.num_positions, "no slot for the last rows"
        taken, ids_S, gate_S = arranged.judged, arranged.ids_S, arranged.gate_S
        assert taken.step == 1, "rows with logits are one after the other"
        assert not any(segment.num_early for segment in segments[1:]), "who leaves early is first"
        num_early = 0 if self.early_layer is None else segments[0].num_early
        assert not taken or num_early <= taken.start, "who leaves early has no logits"
        num_rows = len(ids_S)
        assert num_rows == 0 or 0 <= int(ids_S.min()) <= int(ids_S.max()) <= self.config.mask_id
        has_branches = any(isinstance(segment.attention, Branches) for segment in segments)
        caches = (Cache * len(segments))(*(segment.cache.for_kernels() for segment in segments))
        call = Call(
            ids_S.data_ptr(),
            None if gate_S is None else gate_S.data_ptr(),
            arranged.places_S6.data_ptr(),
            caches,
            len(caches),
            num_rows,
            num_slots,
            taken.start if taken else 0,
            taken.stop if taken else 0,
            num_early,
            None if logits_RV is None else logits_RV.data_ptr(),
            *((part_R.data_ptr() for part_R in judged) if judged else (None, None, None)),
            NUM_DRAFT_IDS if has_branches and logits_RV is None else 0,
            NUM_CANDIDATES if candidates else 0,
            any(segment.needs_candidates for segment in segments),
            *((part_R.data_ptr() for part_R in candidates) if candidates else (None, None, None)),
            may_interrupt,
        )
        if not self._library.seed_forward(self._handle, ctypes.byref(call)):
            raise InterruptedForwardError

    @torch.no_grad()
    def _take(self, weights: StoredWeights | Transformer) -> None:
        config = self.config
        vectors: dict[str, Tensor] = {}
        sums_D: dict[int, Tensor] = {}
        for place in places(config):
            name, shape = place.parameter, (place.begin + place.shape[0], *place.shape[1:])
            if len(shape) == 1:  # the last of several places is the end of the parameter
                vectors[name] = torch.empty(shape)
            else:
                self._add_matrix(*_locate(name), shape)
        if config.is_tied:
            self._library.seed_tie(self._handle)

        def take(name: str, begin: int, rows: Tensor) -> None:
            if name in vectors:
                vectors[name][begin : begin + len(rows)] = rows
                return
            for first in range(0, len(rows), ROWS_AT_ONCE):
                part = rows[first : first + ROWS_AT_ONCE].float()
                if name == "embedding.weight":
                    sums_D[begin + first] = part.sum(dim=0)
                self._set_rows(*_locate(name), begin + first, part)

        if isinstance(weights, StoredWeights):
            weights.pour(take)
        else:
            for name, parameter in weights.named_parameters():
                if not name.startswith(("adapter.", "early.")):
                    take(name, 0, parameter)
        for name, vector in vectors.items():
            layer, kind = _locate(name)
            self._set_vector(kind, vector, layer)
        ordered_ND = torch.stack([sums_D[begin] for begin in sorted(sums_D)])
        self._mean_embedding_D = ordered_ND.sum(dim=0) / config.vocab_size
        cosines_SK, sines_SK = rotary_table(config, self.device, torch.float32)
        half = config.head_dim // 2
        self._set_vector("cosines", cosines_SK[:, :half])
        self._set_vector("sines", sines_SK[:, :half])

    def _add_matrix(self, layer: int, kind: str, shape: tuple[int, ...]) -> None:
        number = MATRICES.index(kind)
        self._library.seed_add_matrix(self._handle, layer, number, *shape)

    def _set_rows(self, layer: int, kind: str, begin: int, rows: Tensor) -> None:
        """Quantize rows of a matrix, `begin` and following."""
        rows = rows.detach().float().contiguous()
        number = MATRICES.index(kind)
        self._library.seed_set_rows(self._handle, layer, number, begin, len(rows), rows.data_ptr())

    def _set_update(self, layer: int, kind: str, update: LowRank) -> None:
        """Ranks are padded to whole panels by zeros."""
        padding = -update.a.shape[0] % PANEL
        a = F.pad(update.a.detach().float(), (0, 0, 0, padding))
        b = F.pad(update.b.detach().float() * update.scale, (0, padding))
        for name, rows in ((f"{kind}.a", a), (f"{kind}.b", b)):
            self._add_matrix(layer, name, tuple(rows.shape))
            self._set_rows(layer, name, 0, rows)

    def _set_early(self, early: EarlyKV | None) -> None:
        self.early_layer = None if early is None else early.layer
        if early is not None:
            weight = early.weight.detach()
            self._add_matrix(early.layer, "early", tuple(weight.shape))
            self._set_rows(early.layer, "early", 0, weight)
            self._set_vector("early_bias", early.bias)

    def _set_coupling(self, coupling: Coupling | None) -> None:
        if coupling is None:
            self._library.seed_set_coupling(self._handle, 0, None, None, None)
            return
        parts = (coupling.state, coupling.token, coupling.scaled_back.T)
        copies = [part.detach().float().contiguous() for part in parts]
        rank = len(coupling.state)
        self._library.seed_set_coupling(self._handle, rank, *(copy.data_ptr() for copy in copies))

    def _set_vector(self, name: str, vector: Tensor, layer: int = 0) -> None:
        vector = vector.detach().float().contiguous()
        kind = VECTORS.index(name)
        self._library.seed_set_vector(self._handle, layer, kind, vector.data_ptr(), vector.numel())


def _untouched(shape: tuple[int, ...], dtype: type[np.generic]) -> Tensor:
    """Zeros that take memory page by page, as they are written.

    Not NumPy's own: it asks for huge pages, of which the first tokens of all heads fill every one.
    """
    count = math.prod(shape)
    memory = mmap.mmap(-1, max(count, 1) * np.dtype(dtype).itemsize)
    if hasattr(mmap, "MADV_NOHUGEPAGE"):
        with contextlib.suppress(OSError):  # a system without huge pages does not know the word
            memory.madvise(mmap.MADV_NOHUGEPAGE)
    return torch.from_numpy(np.frombuffer(memory, dtype, count).reshape(shape))


def _locate(name: str) -> tuple[int, str]:
    """Layer and kind (in `MATRICES` or `VECTORS`) of a parameter of `Transformer`."""
    parts = name.split(".")
    layer = int(parts[1]) if parts[0] == "blocks" else 0
    kind = "final_norm" if parts[-2] == "norm" else parts[-2]
    return layer, f"{kind}_bias" if parts[-1] == "bias" else kind


def check_shape(config: ModelConfig) -> None:
    """Refuse what the kernels do not compute.

    Raises:
        NativeError: if a width is no multiple of 16, or heads are wider than 512.
    """
    widths = (config.width, config.head_dim, config.ffn_width)
    if any(width % TILE for width in widths) or config.head_dim > 512:
        raise NativeError(
            f"The native kernels need widths that are multiples of {TILE}; {config.name} has "
            f"{', '.join(map(str, widths))}: choose kernels torch."
        )
