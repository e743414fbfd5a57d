"""The device loop: a completion as a row of launched steps, with the host one step behind.

All state of the sampler lies on the device: canvas, chain, K/V, lengths, verdicts. A step is one
captured graph; the host launches the next one before it has read what the last one emitted, and
that reading is one asynchronous copy of a few numbers. On a CPU the same steps run eagerly.

Three kinds of step: `ar` is one row; `exact`, `balanced` and `fast` are one forward that verifies
the last drafts and, for each number of them that may be accepted, drafts what follows (TiDAR
2511.08923); `diffusion` denoises a canvas in unrolled steps and commits it. The reference is
`sampler.denoise`.

Knows tokens only, neither text nor requests. Not shortened at the limit: a canvas or chain that
reaches over it is cut when it is emitted.
"""

import math
from collections import deque
from collections.abc import Iterator, Set
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from model.network import Transformer
from sampler.cuda.arena import Arena, Contexts
from sampler.cuda.graphs import GraphBook
from sampler.cuda.kernel_set import TRITON, TWINS, KernelSet
from sampler.cuda.layout import Layout
from sampler.cuda.network import DeviceNetwork
from sampler.kernels.triton.advance import (
    EMITTED,
    HAS_ENDED,
    LENGTH,
    NUM_ACCEPTED,
    NUM_EMITTED,
    SEQUENCE,
    Acceptance,
)
from sampler.kernels.triton.head import Verdict

if TYPE_CHECKING:  # a machine that only measures has not what frames need
    from sampler.messages import Mode

NUM_AHEAD = 2
"""Steps in flight: one is computed while the host reads what the one before has emitted."""
SMALLEST_BUCKET = 256
PREFILL_ROWS = (16, 64)
"""Rows of the captured forwards that append context; more than that goes through the network."""


@dataclass(frozen=True)
class LoopSettings:
    """Sizes of the steps; they change the speed, and in `ar` and `exact` nothing else."""

    branch_sizes: tuple[int, ...] = (3, 3, 3, 3)
    """All modes but `ar` and `diffusion`: MASK rows behind the settled token and behind each draft
    of a chain. A chain has one draft less than this has places."""
    block_size: int = 16
    """`diffusion`: slots of a canvas, the settled first one included."""
    max_steps: int = 4
    """`diffusion`: denoising steps per canvas; the last one reveals whatever is still masked."""
    threshold: float = 0.9
    """`diffusion`: reveal where the confidence is at least this, or the highest."""
    delta: float = 0.9
    """`balanced` accepts a draft whose AR probability is at least this share of the best."""
    fast_delta: float = 0.8
    """Likewise `fast`."""


@dataclass(frozen=True)
class Emitted:
    """What one step brought."""

    tokens: list[int]
    num_accepted: int
    """Drafts of the step that the mode accepts, also those behind an end."""


@dataclass
class _Buffers:
    """Tensors at fixed addresses of one kind of step.

    `ids` is one longer than the rows: from its second element on it names the draft behind each.
    """

    ids: Tensor
    layout: Layout
    report: Tensor

    @property
    def rows(self) -> Tensor:
        return self.ids[:-1]

    @property
    def wanted(self) -> Tensor:
        return self.ids[1:]

    @property
    def chain(self) -> Tensor:
        return self.ids[: self.layout.num_slots]


class DeviceLoop:
    """Owns the device: K/V of a few sequences, and the steps that write completions."""

    def __init__(
        self,
        model: Transformer,
        *,
        num_sequences: int = 4,
        num_positions: int = 4096,
        settings: LoopSettings | None = None,
        kernels: KernelSet | None = None,
    ) -> None:
        """Reserve all memory that steps need; graphs are captured as they are first used.

        Args:
            model: its weights and adapter are read in place.
            num_sequences: how many contexts are kept.
            num_positions: tokens of each.
            settings: sizes of the steps.
            kernels: who computes; by default Triton on a GPU and PyTorch elsewhere.
        """
        self.settings = settings or LoopSettings()
        self.model = model
        self.device = device = model.embedding.weight.device
        if kernels is None:
            kernels = TRITON if device.type == "cuda" else TWINS
        layouts = {
            "ar": Layout.causal(1, device),
            "chain": Layout.of(self.settings.branch_sizes, device),
            "diffusion": Layout.causal(self.settings.block_size, device),
        }
        layouts |= {f"prefill {rows}": Layout.causal(rows, device) for rows in PREFILL_ROWS}
        self.arena = Arena(
            model.config,
            num_sequences=num_sequences,
            num_positions=num_positions,
            num_scratch=max(layout.num_rows for layout in layouts.values()),
            dtype=model.embedding.weight.dtype,
            device=device,
        )
        self.network = DeviceNetwork(model, self.arena, kernels)
        self._kernels = kernels
        mask_id = model.config.mask_id
        self._state = torch.zeros(4, dtype=torch.int64, device=device)
        self._contexts = Contexts(
            self._state[SEQUENCE : SEQUENCE + 1], self._state[LENGTH : LENGTH + 1]
        )
        self._is_end_V = torch.zeros(mask_id + 1, dtype=torch.bool, device=device)
        self._buffers = {
            name: _Buffers(
                torch.full((layout.num_rows + 1,), mask_id, device=device),
                layout,
                torch.zeros(EMITTED + layout.num_slots, dtype=torch.int64, device=device),
            )
            for name, layout in layouts.items()
        }
        chain = layouts["chain"]
        self._is_branch_R = torch.arange(chain.num_rows, device=device) >= chain.num_slots
        self._canvas_layout = Layout.canvas(self.settings.block_size, device)
        self._is_draft_L = torch.arange(self.settings.block_size, device=device) > 0
        self._is_masked_L = self._is_draft_L.clone()
        statics = [self._state, self._is_masked_L]
        statics += [buffers.ids for buffers in self._buffers.values()]
        statics += [buffers.report for buffers in self._buffers.values()]
        self._graphs = GraphBook(device, statics, is_capturable=kernels.is_capturable)
        longest = max(len(buffers.report) for buffers in self._buffers.values())
        self._reports = [
            torch.zeros(longest, dtype=torch.int64, pin_memory=device.type == "cuda")
            for _ in range(NUM_AHEAD)
        ]

    @torch.no_grad()
    def prefill(self, sequence: int, start: int, tokens: list[int]) -> None:
        """Write K/V of context tokens behind the first `start` of a sequence.

        Args:
            sequence: which of the cached sequences.
            start: tokens whose K/V are there already.
            tokens: any number, but for the context's last one, with which `generate` begins.
        """
        assert start + len(tokens) <= self.arena.num_positions, "the sequence is full"
        num_long = max(len(tokens) - PREFILL_ROWS[-1], 0)
        if num_long:
            ids_BT = torch.tensor([tokens[:num_long]], device=self.device)
            cache = self.arena.sequence(sequence)
            self.model(ids_BT, cache=cache, start=start, rows=slice(0, 0))
        tail = tokens[num_long:]
        if not tail:
            return
        num_rows = next(rows for rows in PREFILL_ROWS if rows >= len(tail))
        buffers = self._buffers[f"prefill {num_rows}"]
        self._write(self._state, [start + num_long, sequence, 0, 1])
        self._write(buffers.rows, [*tail, *[0] * (num_rows - len(tail))])
        bucket = self.bucket(start + num_long + num_rows)

        def append() -> None:
            self.network.hidden(buffers.rows, buffers.layout, self._contexts, bucket)

        self._graphs.run(("prefill", num_rows, bucket), append)

    @torch.no_grad()
    def generate(
        self,
        mode: "Mode",
        sequence: int,
        length: int,
        last: int,
        max_new_tokens: int,
        end_ids: Set[int] = frozenset(),
    ) -> Iterator[Emitted]:
        """Tokens behind a context, step by step; the first end token met is the last one.

        Dropping the iterator stops the work: no further step is launched. Behind each step, K/V of
        the context, of `last` and of all tokens but the last are in the cache.

        Args:
            mode: how drafts are accepted; without an adapter all are `ar`.
            sequence: which of the cached sequences.
            length: tokens of it whose K/V are there: the context but for its last token.
            last: that token.
            max_new_tokens: upper bound of the result's length, which must fit the sequence.
            end_ids: ids that end it.
        """
        assert length + max_new_tokens <= self.arena.num_positions, "the sequence is full"
        kind: Mode = mode if self.network.has_adapter else "ar"
        # A canvas begins with a settled token, which the context alone gives.
        first_kind: Mode = "ar" if kind == "diffusion" else kind
        self.begin(first_kind, sequence, length, last, max_new_tokens, end_ids)
        num_left, num_launched = max_new_tokens, 0
        in_flight = deque[Tensor | tuple[Tensor, torch.cuda.Event]]()
        while True:
            # Each step in flight emits a token at least and its chain's length at most.
            while len(in_flight) < NUM_AHEAD and num_left > len(in_flight):
                here = kind if num_launched else first_kind
                ahead = len(in_flight) * self._of(kind).layout.num_slots
                self.launch(here, length + ahead)
                in_flight.append(self._report(here, num_launched % NUM_AHEAD))
                if here != kind:
                    self._of(kind).chain.fill_(self.model.config.mask_id)
                    self._of(kind).chain[:1] = self._of(here).chain
                num_launched += 1
            if not in_flight:
                return
            report = self._read(in_flight.popleft())
            emitted = report[EMITTED : EMITTED + report[NUM_EMITTED]]
            length, num_left = length + len(emitted), num_left - len(emitted)
            yield Emitted(emitted, report[NUM_ACCEPTED])
            if report[HAS_ENDED]:
                return

    @torch.no_grad()
    def begin(
        self,
        kind: "Mode",
        sequence: int,
        length: int,
        last: int,
        max_new_tokens: int,
        end_ids: Set[int] = frozenset(),
    ) -> None:
        """Put the beginning of a completion on the device; see `generate`."""
        self._write(self._state, [length, sequence, max_new_tokens, 0])
        self._is_end_V.zero_()
        if end_ids:
            self._is_end_V[torch.tensor(sorted(end_ids), device=self.device)] = True
        chain = self._of(kind).chain
        self._write(chain, [last, *[self.model.config.mask_id] * (len(chain) - 1)])

    @torch.no_grad()
    def launch(self, kind: "Mode", length: int) -> None:
        """Launch one step; `length` is at least the context's, wherever that stands by then."""
        buffers = self._of(kind)
        bucket = self.bucket(length + buffers.layout.num_rows)
        if kind == "diffusion":
            self._graphs.run((kind, bucket), lambda: self._canvas_step(buffers, bucket))
        else:
            settings = self.settings
            deltas = {"balanced": settings.delta, "fast": settings.fast_delta}
            delta = deltas.get(kind)
            self._graphs.run((kind, bucket), lambda: self._chain_step(delta, buffers, bucket))

    def _chain_step(self, delta: float | None, buffers: _Buffers, bucket: int) -> None:
        """One forward verifies and drafts; accepted are shares of `delta`, None: the best."""
        is_gated_R = self._is_branch_R if buffers.layout.has_branches else None
        hidden_RD = self.network.hidden(
            buffers.rows, buffers.layout, self._contexts, bucket, is_gated_R
        )
        acceptance: Acceptance = "exact" if delta is None else "ratio"
        verdict = self.network.judge(hidden_RD, buffers.wanted, buffers.layout, is_gated_R)
        self._advance(acceptance, math.log(delta or 1.0), buffers, verdict)

    def _canvas_step(self, buffers: _Buffers, bucket: int) -> None:
        """Denoise until nothing is masked, then commit."""
        self._is_masked_L.copy_(self._is_draft_L)
        for step in range(self.settings.max_steps):
            hidden_RD = self.network.hidden(
                buffers.rows, self._canvas_layout, self._contexts, bucket, self._is_masked_L
            )
            verdict = self.network.judge(hidden_RD, buffers.wanted)
            is_last = step == self.settings.max_steps - 1
            self._kernels.unmask(
                verdict.tokens_R,
                verdict.confidence_R,
                buffers.rows,
                self._is_masked_L,
                0.0 if is_last else self.settings.threshold,
            )
        hidden_RD = self.network.hidden(buffers.rows, buffers.layout, self._contexts, bucket)
        self._advance("all", 0.0, buffers, self.network.judge(hidden_RD, buffers.wanted))

    def _advance(
        self, acceptance: Acceptance, log_delta: float, buffers: _Buffers, verdict: Verdict
    ) -> None:
        self._kernels.advance(
            acceptance,
            verdict,
            buffers.chain,
            buffers.layout.starts_C,
            buffers.layout.sizes_C,
            self._state,
            buffers.report,
            self._is_end_V,
            mask_id=self.model.config.mask_id,
            log_delta=log_delta,
        )

    def rows(self, kind: "Mode") -> int:
        """Rows of a forward that verifies."""
        return self._of(kind).layout.num_rows

    def room(self, length: int) -> int:
        """Tokens that still fit a sequence of `length`."""
        return self.arena.num_positions - length

    def _of(self, kind: "Mode") -> _Buffers:
        return self._buffers[kind if kind in ("ar", "diffusion") else "chain"]

    def bucket(self, num_slots: int) -> int:
        """The next power of two: few graphs, and no more than twice the work."""
        bucket = SMALLEST_BUCKET
        while bucket < num_slots:
            bucket *= 2
        return bucket

    def _report(self, kind: "Mode", place: int) -> Tensor | tuple[Tensor, torch.cuda.Event]:
        """Start copying a step's report to the host."""
        report = self._of(kind).report
        copy = self._reports[place][: len(report)]
        copy.copy_(report, non_blocking=True)
        if self.device.type != "cuda":
            return copy
        event = torch.cuda.Event()  # type: ignore[no-untyped-call]
        event.record()
        return copy, event

    def _read(self, copy: Tensor | tuple[Tensor, torch.cuda.Event]) -> list[int]:
        """Wait for a report."""
        if isinstance(copy, tuple):
            copy, event = copy
            event.synchronize()
        report: list[int] = copy.tolist()
        return report

    def _write(self, static: Tensor, values: list[int]) -> None:
        static.copy_(torch.tensor(values, dtype=static.dtype))
