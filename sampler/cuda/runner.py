"""The engine's forwards on a GPU: any layout of few rows is one captured graph.

Layout, lengths and tokens are data that a graph reads from fixed addresses, so there is a graph for
each number of rows, rounded up, and each bucket of the context, and none for a layout. The rows may
be of several sequences, each with a layout of its own. What the engine reads of a forward comes
back in one copy; judgments and canvases lie on the host. Long chunks of context go through the
network itself. Knows no policy, request or text.

Where the adapter couples drafts, the forward does it, for all branches at once: whichever of them
turns out to be the right one, the token before it is what its chain row judged. So the judgments of
branches are coupled already, and there are no candidates to bring to the host.

Shape suffixes: B batch (1), R rows of the graph, T rows of one sequence, L judged rows, V
vocabulary.
"""

import functools
import gc
import weakref
from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from torch import Tensor

from model.coupling import read_candidates
from model.masks import Attention, Branches
from model.network import KVCache, Transformer
from sampler.cuda.arena import Arena, Contexts
from sampler.cuda.graphs import GraphBook
from sampler.cuda.kernel_set import TRITON, TWINS, KernelSet
from sampler.cuda.layout import Layout
from sampler.cuda.network import DeviceNetwork
from sampler.forward import Forward
from sampler.judgment import Judgment
from sampler.kernels.cpu.segments import NativeCache, Visible
from sampler.kv_cache import CachedSequence
from sampler.policy import judge
from sampler.runner import Runner, next_ids

GRAPH_ROWS = (1, 16, 32, 64)
"""Rows of captured forwards; a forward takes the next larger one."""
MOST_SEQUENCES = 4
"""Of one captured forward."""
SMALLEST_BUCKET = 256
MOST_DISTANCE = 0.1
"""Between hidden rows, relative; rounding in bf16 makes 0.01, a mistake makes 1."""


Placed = tuple[Visible, int]
"""Whom rows of a sequence see, and how many they are."""


class KernelError(RuntimeError):
    """The kernels do not compute what the network does."""


class ArenaCache(KVCache):
    """One sequence of the arena, which takes it back when nobody holds this any more."""

    index: int


@dataclass(frozen=True)
class _Part:
    """What one sequence wants of a forward."""

    sequence: CachedSequence
    ids_T: Tensor
    attention: Visible
    gate_T: Tensor | None
    rows: slice
    """Those that are judged."""
    needs_logits: bool

    @property
    def place(self) -> tuple[int, int]:
        """Which sequence of the arena, and where its context ends."""
        cache, length = self.sequence.kv, len(self.sequence.tokens)
        assert isinstance(cache, ArenaCache)
        end = length + len(self.ids_T)
        assert end <= cache.keys[0].shape[2], "the cache has no slot for the last rows"
        return cache.index, length


class _Buffers:
    """Tensors at fixed addresses of the forwards over R rows."""

    def __init__(self, num_rows: int, width: int, dtype: torch.dtype, device: torch.device) -> None:
        # All that a forward is told, so that it is one copy: contexts, ids, gate.
        self.inputs = torch.zeros(
            2 * MOST_SEQUENCES + 2 * num_rows, dtype=torch.int64, device=device
        )
        self.staging = torch.zeros_like(self.inputs, device="cpu", pin_memory=device.type == "cuda")
        self.contexts, self.ids_R, self.gate_R = _parts(self.inputs, num_rows)
        # The layout, too, is one copy.
        self.placement = _placed((("causal", num_rows),), num_rows, device).clone()
        self.layout = _layout_in(self.placement, num_rows)
        self.placed: tuple[Placed, ...] | None = None
        self.hidden_RD = torch.zeros(num_rows, width, dtype=dtype, device=device)
        self.report_3R = torch.zeros(3, num_rows, dtype=torch.int64, device=device)
        """Tokens, and the bits of their confidence and of the shares of the rows behind them."""

    def tell(self, parts: Sequence[_Part]) -> None:
        """Send what one forward needs; the forward before must be done."""
        told = self.staging.zero_()
        contexts, ids_R, gate_R = _parts(told, len(self.ids_R))
        first = 0
        for index, part in enumerate(parts):
            contexts.sequences_B[index], contexts.lengths_B[index] = part.place
            rows = slice(first, first + len(part.ids_T))
            ids_R[rows] = part.ids_T
            if part.gate_T is not None:
                gate_R[rows] = part.gate_T
            first = rows.stop
        self.inputs.copy_(told, non_blocking=True)
        placed = tuple((part.attention, len(part.ids_T)) for part in parts)
        if placed != self.placed:
            self.placed = placed
            self.placement.copy_(_placed(placed, len(self.ids_R), self.placement.device))


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
                self._launch(num_rows, bucket, 1)
                if num_rows > 1:
                    self._launch(num_rows, bucket, MOST_SEQUENCES)
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
        if ids_BT.shape[1] > GRAPH_ROWS[-1] or isinstance(attention, Tensor):
            return self._long_forward(
                ids_BT, sequence, attention, gate_BT, rows, needs_logits=needs_logits
            )
        gate_T = None if gate_BT is None else gate_BT[0]
        return self._graph_forward(
            [_Part(sequence, ids_BT[0], attention, gate_T, rows, needs_logits)]
        )[0]

    @property
    def most_shared_rows(self) -> int:
        """As many as the longest graph has."""
        return GRAPH_ROWS[-1]

    @torch.inference_mode()
    def advance_together(
        self, forwards: Sequence[Forward], *, may_interrupt: bool = False
    ) -> list[Judgment]:
        """As few launches as the rows of different sequences fit, in their order.

        A launch is over before it could be interrupted.
        """
        judgments: list[Judgment] = []
        for group in _launches(forwards):
            if len(group) == 1:  # it may be too long for a graph
                judgments.append(self._advance(group[0]))
                continue
            parts = [
                _Part(
                    forward.sequence,
                    *self._rows_of(forward),
                    forward.needs_logits or forward.needs_candidates,
                )
                for forward in group
            ]
            judgments += self._graph_forward(parts)
        return judgments

    def _graph_forward(self, parts: Sequence[_Part]) -> list[Judgment]:
        """One launch for all parts, each of another sequence; rows stand part by part."""
        self.num_forwards += 1
        places = [part.place for part in parts]
        assert len({index for index, _ in places}) == len(parts), "a sequence is there twice"
        num_rows = sum(len(part.ids_T) for part in parts)
        graph_rows = next(size for size in GRAPH_ROWS if size >= num_rows)
        buffers = self._buffers[graph_rows]
        buffers.tell(parts)
        bucket = SMALLEST_BUCKET
        while bucket < max(length for _, length in places) + graph_rows:
            bucket *= 2
        self._launch(graph_rows, bucket, 1 if len(parts) == 1 else MOST_SEQUENCES)
        report_3R = buffers.report_3R.to("cpu", copy=True)
        judgments, first = [], 0
        for part in parts:
            end = first + len(part.ids_T)
            report_3R[2, end - 1] = 0  # no row of its own is behind it
            rows = range(first, end)[part.rows]
            judged = slice(rows.start, rows.stop)
            logits_LV = None
            if part.needs_logits:
                logits_LV = F.linear(buffers.hidden_RD[judged], self._rows.head_VD).float().cpu()
            confidence_L, shares_L = report_3R[1:, judged].to(torch.int32).view(torch.float32)
            judgments.append(Judgment(report_3R[0, judged], confidence_L, shares_L, logits_LV))
            first = end
        return judgments

    def _launch(self, num_rows: int, bucket: int, num_sequences: int) -> None:
        buffers = self._buffers[num_rows]
        # To look for others costs a sequence a few loads a launch: alone it has a graph of its own.
        bounds = buffers.layout.bounds[: num_sequences + 1]
        layout = replace(buffers.layout, bounds=bounds)
        contexts = Contexts(
            buffers.contexts.sequences_B[:num_sequences], buffers.contexts.lengths_B[:num_sequences]
        )

        def forward() -> None:
            is_gated_R = buffers.gate_R != 0
            hidden_RD = self._rows.hidden(buffers.ids_R, layout, contexts, bucket, is_gated_R)
            verdict = self._rows.judge(hidden_RD, buffers.ids_R.roll(-1), layout, is_gated_R)
            shares_R = (verdict.wanted_R - verdict.logits_R).exp()
            buffers.hidden_RD.copy_(hidden_RD)
            buffers.report_3R[0].copy_(verdict.tokens_R)
            buffers.report_3R[1].copy_(verdict.confidence_R.view(torch.int32))
            buffers.report_3R[2].copy_(shares_R.view(torch.int32))

        self._graphs.run((num_rows, bucket, num_sequences), forward)

    def _long_forward(
        self,
        ids_BT: Tensor,
        sequence: CachedSequence,
        attention: Attention,
        gate_BT: Tensor | None,
        rows: slice,
        *,
        needs_logits: bool,
    ) -> Judgment:
        """Many rows at once: the network itself, over the same memory."""
        self.num_forwards += 1
        cache = sequence.kv
        assert isinstance(cache, ArenaCache)
        hidden_BRD = self._network.hidden(
            ids_BT.to(self._on_gpu),
            cache=cache,
            start=len(sequence.tokens),
            attention=attention.to(self._on_gpu) if isinstance(attention, Tensor) else attention,
            gate_BT=None if gate_BT is None else gate_BT.to(self._on_gpu),
            rows=rows,
        )
        logits_LV = self._network.head(hidden_BRD)[0].float()
        next_L = next_ids(ids_BT, self._network.config.mask_id)[rows].to(self._on_gpu)
        judgment = judge(logits_LV, next_L)
        if isinstance(attention, Branches) and self._rows.has_coupling:
            layout = Layout.of(attention.sizes, self._on_gpu)
            self._rows.couple(
                judgment.tokens_L,
                judgment.confidence_L,
                replace(read_candidates(hidden_BRD[0], logits_LV), hidden_LD=hidden_BRD[0]),
                layout.starts_C[rows.start :] - rows.start,
                layout.sizes_C[rows.start :],
            )
        if self._on_gpu.type == "cuda":
            torch.cuda.synchronize()  # rows without logits leave nothing to wait for
        return Judgment(
            judgment.tokens_L.cpu(),
            judgment.confidence_L.cpu(),
            judgment.shares_L.cpu(),
            judgment.logits.cpu() if needs_logits else None,
        )


def _launches(forwards: Sequence[Forward]) -> list[list[Forward]]:
    """Neighbors that fit a graph together; a forward that fits none is alone."""
    groups: list[list[Forward]] = []
    for forward in forwards:
        num_rows = sum(other.num_rows for other in groups[-1]) if groups else GRAPH_ROWS[-1]
        if num_rows + forward.num_rows > GRAPH_ROWS[-1] or len(groups[-1]) == MOST_SEQUENCES:
            groups.append([])
        groups[-1].append(forward)
    return groups


def _parts(inputs: Tensor, num_rows: int) -> tuple[Contexts, Tensor, Tensor]:
    """Contexts, ids and gate."""
    sequences_B, lengths_B = inputs[: 2 * MOST_SEQUENCES].view(2, MOST_SEQUENCES)
    ids_R, gate_R = inputs[2 * MOST_SEQUENCES :].view(2, num_rows)
    return Contexts(sequences_B, lengths_B), ids_R, gate_R


def _layout_in(placement: Tensor, num_rows: int) -> Layout:
    """A layout as views of a tensor; branches are told for each row, not for chain rows alone."""
    offsets_R, starts_R, sizes_R = placement[: 3 * num_rows].view(3, num_rows)
    bounds = placement[3 * num_rows :][: MOST_SEQUENCES + 1]
    bits = placement[3 * num_rows + MOST_SEQUENCES + 1 :]
    is_visible_RR = bits.view(torch.bool)[: num_rows**2].view(num_rows, num_rows)
    return Layout(offsets_R, is_visible_RR, starts_R, sizes_R, bounds)


@functools.lru_cache(maxsize=1024)
def _placed(placed: tuple[Placed, ...], graph_rows: int, device: torch.device) -> Tensor:
    """Where the rows of each sequence stand, and whom they see, for `_layout_in`.

    The last rows only fill the graph up: they see themselves alone, behind the last sequence.
    """
    num_bytes = graph_rows**2
    placement = torch.zeros(
        3 * graph_rows + MOST_SEQUENCES + 1 + -(-num_bytes // 8), dtype=torch.int64
    )
    whole = _layout_in(placement, graph_rows)
    whole.is_visible_RR.fill_diagonal_(True)
    whole.bounds.fill_(graph_rows)
    first = 0
    for index, (attention, num_rows) in enumerate(placed):
        if isinstance(attention, Branches):
            layout = Layout.of(attention.sizes, torch.device("cpu"))
        elif attention == "canvas":
            layout = Layout.canvas(num_rows, torch.device("cpu"))
        else:
            layout = Layout.causal(num_rows, torch.device("cpu"))
        rows, chain = slice(first, first + num_rows), slice(first, first + layout.num_slots)
        whole.offsets_R[rows] = layout.offsets_R
        whole.is_visible_RR[rows, rows] = layout.is_visible_RR
        whole.starts_C[chain] = layout.starts_C + first
        whole.sizes_C[chain] = layout.sizes_C
        whole.bounds[index] = first
        first += num_rows
    return placement.to(device)
