"""The engine's forwards on a GPU: any layout of few rows is one captured graph.

Layout, lengths and tokens are data that a graph reads from fixed addresses, so there is a graph for
each number of rows, rounded up, and each bucket of the context, and none for a layout. What the
engine reads of a forward comes back in one copy; judgments and canvases lie on the host. Long
chunks of context go through the network itself. Knows no policy, request or text.

Shape suffixes: B batch (1), R rows of the graph, V vocabulary.
"""

import functools
import gc
import weakref

import torch
import torch.nn.functional as F
from torch import Tensor

from model.masks import Attention, Branches
from model.network import KVCache, Transformer
from sampler.cuda.arena import Arena
from sampler.cuda.graphs import GraphBook
from sampler.cuda.kernel_set import TRITON, TWINS, KernelSet
from sampler.cuda.layout import Layout
from sampler.cuda.network import DeviceNetwork
from sampler.judgment import Judgment
from sampler.kernels.cpu.segments import NativeCache
from sampler.kv_cache import CachedSequence
from sampler.policy import judge
from sampler.runner import Runner, next_ids

GRAPH_ROWS = (1, 16, 32, 64)
"""Rows of captured forwards; a forward takes the next larger one."""
SMALLEST_BUCKET = 256
MOST_DISTANCE = 0.1
"""Between hidden rows, relative; rounding in bf16 makes 0.01, a mistake makes 1."""


class KernelError(RuntimeError):
    """The kernels do not compute what the network does."""


class ArenaCache(KVCache):
    """One sequence of the arena, which takes it back when nobody holds this any more."""

    index: int


class _Buffers:
    """Tensors at fixed addresses of the forwards over R rows."""

    def __init__(self, num_rows: int, width: int, dtype: torch.dtype, device: torch.device) -> None:
        # All that a forward is told, so that it is one copy: state, ids, gate.
        self.inputs = torch.zeros(4 + 2 * num_rows, dtype=torch.int64, device=device)
        self.staging = torch.zeros_like(self.inputs, device="cpu", pin_memory=device.type == "cuda")
        self.state, self.ids_R, self.gate_R = _parts(self.inputs, num_rows)
        self.layout = Layout.causal(num_rows, device)
        self.placed: tuple[str | Branches, int] | None = None
        self.hidden_RD = torch.zeros(num_rows, width, dtype=dtype, device=device)
        self.report_3R = torch.zeros(3, num_rows, dtype=torch.int64, device=device)
        """Tokens, and the bits of their confidence and of the shares of the rows behind them."""

    def tell(self, state: list[int], ids_T: Tensor, gate_T: Tensor | None) -> None:
        """Send what one forward needs; the forward before must be done."""
        told = self.staging.zero_()
        state_4, ids_R, gate_R = _parts(told, len(self.ids_R))
        state_4.copy_(torch.tensor(state))
        ids_R[: len(ids_T)] = ids_T
        if gate_T is not None:
            gate_R[: len(gate_T)] = gate_T
        self.inputs.copy_(told, non_blocking=True)

    def place(self, attention: str | Branches, num_rows: int) -> None:
        """Put the rows where `attention` has them, unless they are there."""
        if self.placed != (attention, num_rows):
            self.placed = (attention, num_rows)
            device = self.layout.offsets_R.device
            offsets_R, is_visible_RR = _placed(attention, num_rows, len(self.ids_R), device)
            self.layout.offsets_R.copy_(offsets_R)
            self.layout.is_visible_RR.copy_(is_visible_RR)


class GraphRunner(Runner):
    """A `Runner` of the same answers; here, too, every method blocks until its forward is done."""

    def __init__(
        self,
        model: Transformer,
        *,
        num_sequences: int,
        num_positions: int,
        kernels: KernelSet | None = None,
    ) -> None:
        """Reserve all memory that forwards need; graphs are captured as they are first used.

        Args:
            model: its weights and adapter are read in place.
            num_sequences: how many may be allocated at a time.
            num_positions: of the longest of them.
            kernels: who computes; by default Triton on a GPU and PyTorch elsewhere.
        """
        super().__init__(model)
        device, dtype = model.embedding.weight.device, model.embedding.weight.dtype
        self.device = torch.device("cpu")
        self._network = model
        self._on_gpu = device
        if kernels is None:
            kernels = TRITON if device.type == "cuda" else TWINS
        self._has_triton = kernels is TRITON
        self.arena = Arena(
            model.config,
            num_sequences=num_sequences,
            num_positions=num_positions,
            num_scratch=GRAPH_ROWS[-1],
            dtype=dtype,
            device=device,
        )
        self._free = list(range(num_sequences))
        self._rows = DeviceNetwork(model, self.arena, kernels)
        self._buffers = {
            num_rows: _Buffers(num_rows, model.config.width, dtype, device)
            for num_rows in GRAPH_ROWS
        }
        # A forward writes nothing that it reads: capturing has nothing to put back.
        self._graphs = GraphBook(device, [], is_capturable=kernels.is_capturable)

    @torch.inference_mode()
    def warm_up(self) -> None:
        """Compile and capture all forwards that requests may need, seconds the first time."""
        bucket = SMALLEST_BUCKET
        while bucket < 2 * self.arena.num_positions:
            for num_rows in GRAPH_ROWS:
                self._launch(num_rows, bucket)
            bucket *= 2

    @torch.inference_mode()
    def prove(self) -> None:
        """Compare a forward behind a context with the network's own.

        Raises:
            KernelError: if they are further apart than rounding explains.
        """
        num_context, chain, sizes = 24, [3, 4, 5], (2, 0, 3)
        generator = torch.Generator().manual_seed(0)
        ids_T = torch.randint(
            0, self._network.config.vocab_size, (num_context,), generator=generator
        )
        sequence = CachedSequence(self.allocate(num_context + GRAPH_ROWS[-1]))
        self.advance(sequence, ids_T.tolist())
        sequence.extend(ids_T.tolist())
        self.advance(sequence, chain, sizes)
        ids_BT = torch.tensor([[*chain, *[self._network.config.mask_id] * sum(sizes)]])
        num_rows = ids_BT.shape[1]
        found_RD = self._buffers[16].hidden_RD[:num_rows].double()
        cache = KVCache.allocate(
            self._network.config,
            num_context + num_rows,
            dtype=self._rows.embedding_VD.dtype,
            device=self._on_gpu,
        )
        self._network.hidden(ids_T[None].to(self._on_gpu), cache=cache)
        ids_BT = ids_BT.to(self._on_gpu)
        expected_RD = self._network.hidden(
            ids_BT,
            cache=cache,
            start=num_context,
            attention=Branches(sizes),
            gate_BT=ids_BT == self._network.config.mask_id,
        )[0].double()
        distance = float((found_RD - expected_RD).norm() / expected_RD.norm())
        if not distance < MOST_DISTANCE:
            raise KernelError(f"the GPU kernels are {distance:.3f} away from the network")

    @property
    def kernels(self) -> str:
        """What computes, in words."""
        return "triton" if self._has_triton else "torch"

    def allocate(self, num_positions: int) -> KVCache | NativeCache:
        """One sequence of the arena."""
        assert num_positions <= self.arena.num_positions, "a sequence is longer than the arena's"
        if not self._free:
            gc.collect()  # one may wait for that, where an error had hold of it
        assert self._free, "all sequences of the arena are in use"
        index = self._free.pop()
        views = self.arena.sequence(index)
        cache = ArenaCache(views.keys, views.values)
        cache.index = index
        weakref.finalize(cache, self._free.append, index)
        return cache

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
        num_rows = ids_BT.shape[1]
        if num_rows > GRAPH_ROWS[-1] or isinstance(attention, Tensor):
            return self._long_forward(ids_BT, sequence, attention, gate_BT, rows)
        self.num_forwards += 1
        cache, start = sequence.kv, len(sequence.tokens)
        assert isinstance(cache, ArenaCache)
        assert start + num_rows <= self.arena.num_slots, "the cache has no slot for the last rows"
        graph_rows = next(size for size in GRAPH_ROWS if size >= num_rows)
        buffers = self._buffers[graph_rows]
        buffers.tell([start, cache.index, 0, 0], ids_BT[0], None if gate_BT is None else gate_BT[0])
        buffers.place(attention, num_rows)
        bucket = SMALLEST_BUCKET
        while bucket < start + graph_rows:
            bucket *= 2
        self._launch(graph_rows, bucket)
        report_3R = buffers.report_3R.to("cpu", copy=True)
        report_3R[2, num_rows - 1] = 0  # no row of this forward is behind it
        report_3R = report_3R[:, rows]
        logits_LV = None
        if needs_logits:
            logits_LV = F.linear(buffers.hidden_RD[rows], self._rows.head_VD).float().cpu()
        confidence_L, shares_L = report_3R[1:].to(torch.int32).view(torch.float32)
        return Judgment(report_3R[0], confidence_L, shares_L, logits_LV)

    def _launch(self, num_rows: int, bucket: int) -> None:
        buffers = self._buffers[num_rows]

        def forward() -> None:
            is_gated_R = buffers.gate_R != 0
            hidden_RD = self._rows.hidden(
                buffers.ids_R, buffers.layout, buffers.state, bucket, is_gated_R
            )
            verdict = self._rows.judge(hidden_RD, buffers.ids_R.roll(-1))
            shares_R = (verdict.wanted_R - verdict.logits_R).exp()
            buffers.hidden_RD.copy_(hidden_RD)
            buffers.report_3R[0].copy_(verdict.tokens_R)
            buffers.report_3R[1].copy_(verdict.confidence_R.view(torch.int32))
            buffers.report_3R[2].copy_(shares_R.view(torch.int32))

        self._graphs.run((num_rows, bucket), forward)

    def _long_forward(
        self,
        ids_BT: Tensor,
        sequence: CachedSequence,
        attention: Attention,
        gate_BT: Tensor | None,
        rows: slice,
    ) -> Judgment:
        """Many rows at once: the network itself, over the same memory."""
        self.num_forwards += 1
        cache = sequence.kv
        assert isinstance(cache, ArenaCache)
        logits_BRV = self._network(
            ids_BT.to(self._on_gpu),
            cache=cache,
            start=len(sequence.tokens),
            attention=attention.to(self._on_gpu) if isinstance(attention, Tensor) else attention,
            gate_BT=None if gate_BT is None else gate_BT.to(self._on_gpu),
            rows=rows,
        )
        logits_LV = logits_BRV[0].cpu()
        if self._on_gpu.type == "cuda":
            torch.cuda.synchronize()  # rows without logits leave nothing to wait for
        return judge(logits_LV, next_ids(ids_BT, self._network.config.mask_id)[rows])


def _parts(inputs: Tensor, num_rows: int) -> tuple[Tensor, Tensor, Tensor]:
    """State, ids and gate."""
    return inputs[:4], inputs[4 : 4 + num_rows], inputs[4 + num_rows :]


@functools.lru_cache(maxsize=256)
def _placed(
    attention: str | Branches, num_rows: int, graph_rows: int, device: torch.device
) -> tuple[Tensor, Tensor]:
    """Where rows stand and whom they see; those that fill the graph up see themselves alone."""
    if isinstance(attention, Branches):
        layout = Layout.of(attention.sizes, torch.device("cpu"))
    elif attention == "canvas":
        layout = Layout.canvas(num_rows, torch.device("cpu"))
    else:
        layout = Layout.causal(num_rows, torch.device("cpu"))
    offsets_R = torch.zeros(graph_rows, dtype=torch.int64)
    offsets_R[:num_rows] = layout.offsets_R
    is_visible_RR = torch.eye(graph_rows, dtype=torch.bool)
    is_visible_RR[:num_rows, :num_rows] = layout.is_visible_RR
    return offsets_R.to(device), is_visible_RR.to(device)
