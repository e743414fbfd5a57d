"""Kernels of the GPU sampler one by one, for `bench_gpu`; alone it does nothing.

Times are of captured graphs that read more weights than any cache holds.
"""

import argparse
import json
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import torch
import torch.nn.functional as F

from model.adapter import AdapterConfig
from sampler.cuda.layout import Layout
from sampler.cuda.loop import DeviceLoop
from sampler.kernels.triton import attention, head, linear
from sampler.kernels.triton.linear import Update

L2_BYTES = 300_000_000
"""Weights that a timed graph reads at least, so that no cache holds them."""
SWEPT = {
    "qkv": {"BLOCK_N": (32, 64, 128), "NUM_PROGRAMS": (66, 132, 264), "NUM_WARPS": (4, 8)},
    "down": {
        "BLOCK_N": (32, 64, 128),
        "NUM_PROGRAMS": (132, 264, 528),
        "NUM_STAGES": (2, 3, 4),
        "NUM_WARPS": (4, 8),
    },
    "gate_up": {"BLOCK_GATE": (16, 32, 64), "NUM_STAGES": (2, 3, 4), "NUM_WARPS": (2, 4, 8)},
    "judge": {"BLOCK_V": (64, 128, 256), "NUM_STAGES": (2, 3), "NUM_WARPS": (4, 8)},
    "attention": {"CHUNK": (64, 128), "MOST_MEMBERS": (16, 32, 64), "NUM_WARPS": (4, 8)},
}


class Stopwatch:
    """Times launches and writes records down."""

    def __init__(self, options: argparse.Namespace) -> None:
        self.options = options
        self.device = torch.device(options.device)
        self.is_cuda = self.device.type == "cuda"
        self.out = None if options.out is None else Path(options.out) / "bench_gpu.jsonl"
        if self.out is not None:
            self.out.parent.mkdir(parents=True, exist_ok=True)
            self.out.write_text("")
        self.copy_rate = 0.0
        self.started = time.perf_counter()

    def tell(self, kind: str, **record: object) -> None:
        line = json.dumps({"kind": kind, **record})
        if self.out is not None:
            with self.out.open("a") as file:
                file.write(line + "\n")
        print(line, flush=True)

    def milliseconds(self, launch: Callable[[], object], *, repeats: int = 30) -> float:
        """Median of a captured graph's replays, by device events; on a CPU of plain calls."""
        if not self.is_cuda:
            started = time.perf_counter()
            launch()
            return 1000 * (time.perf_counter() - started)
        stream = torch.cuda.Stream()
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):
            for _ in range(2):
                launch()
        torch.cuda.current_stream().wait_stream(stream)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            launch()
        for _ in range(3):
            graph.replay()
        return self.replays(graph.replay, repeats)

    def replays(self, replay: Callable[[], object], repeats: int) -> float:
        """Median milliseconds on the device."""
        times = []
        for _ in range(repeats):
            begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
            begin.record()
            replay()
            end.record()
            end.synchronize()
            times.append(begin.elapsed_time(end))
        return statistics.median(times)

    def over(self, items: list, launch: Callable[..., object]) -> float:
        """Milliseconds of one launch, of a graph that has one for each item."""

        def launch_all() -> None:
            for item in items:
                launch(item)

        return self.milliseconds(launch_all) / len(items)


class KernelBench(Stopwatch):
    def kernels(self, loop: DeviceLoop) -> None:
        """Each kernel at the shapes of one layer, over as many layers as no cache holds."""
        network, config = loop.network, loop.model.config
        kernels, dtype = network.kernels, network.embedding_VD.dtype
        layer = loop.model.blocks[0]
        for num_rows in self.options.rows:
            gate = torch.ones(num_rows, dtype=torch.bool, device=self.device)
            for name, module in (
                ("qkv", layer.attention.qkv),
                ("out", layer.attention.out),
                ("gate_up", layer.ffn.gate_up),
                ("down", layer.ffn.down),
            ):
                num_outputs, width = module.weight.shape
                x = torch.randn(num_rows, width, device=self.device).to(dtype)
                num_bytes = module.weight.nbytes
                copies = max(L2_BYTES // num_bytes, 1) if self.is_cuda else 1
                weights = [torch.randn_like(module.weight) for _ in range(copies)]
                adapter = AdapterConfig(32, 64.0)
                updates = [
                    Update(
                        torch.randn(adapter.rank, width, device=self.device).to(dtype),
                        torch.randn(num_outputs, adapter.rank, device=self.device).to(dtype),
                    )
                    for _ in range(copies)
                ]
                kernel = kernels.swiglu if name == "gate_up" else kernels.linear
                plain = self.over(weights, lambda w, k=kernel, x=x: k(x, w))
                pairs = list(zip(weights, updates, strict=True))
                adapted = self.over(
                    pairs, lambda pair, k=kernel, x=x, g=gate: k(x, pair[0], pair[1], g)
                )
                library = self.over(weights, lambda w, x=x: F.linear(x, w))
                self.tell(
                    "kernel",
                    name=name,
                    rows=num_rows,
                    us=round(1e3 * plain, 2),
                    us_adapted=round(1e3 * adapted, 2),
                    us_of_the_library=round(1e3 * library, 2),
                    gbytes_per_s=round(num_bytes / plain / 1e6),
                    share_of_copy_rate=round(num_bytes / plain * 1e3 / self.copy_rate, 3),
                )
            x = torch.randn(num_rows, config.width, device=self.device).to(dtype)
            wanted = torch.zeros(num_rows, dtype=torch.int64, device=self.device)
            ms = self.milliseconds(lambda x=x, w=wanted: network.judge(x, w))
            num_bytes = network.head_VD.nbytes
            self.tell(
                "kernel",
                name="judge",
                rows=num_rows,
                us=round(1e3 * ms, 2),
                us_of_the_library=round(
                    1e3 * self.milliseconds(lambda x=x: F.linear(x, network.head_VD).max(-1)), 2
                ),
                gbytes_per_s=round(num_bytes / ms / 1e6),
                share_of_copy_rate=round(num_bytes / ms * 1e3 / self.copy_rate, 3),
            )
            self.small_kernels(loop, num_rows, x)
        self.coupling(loop)

    def coupling(self, loop: DeviceLoop) -> None:
        """The head of a step that drafts, with what couples its branches and without."""
        network, layout = loop.network, Layout.of(loop.settings.branch_sizes, self.device)
        x = torch.randn(layout.num_rows, network.config.width, device=self.device)
        x = x.to(network.embedding_VD.dtype)
        wanted = torch.zeros(layout.num_rows, dtype=torch.int64, device=self.device)
        is_gated = torch.arange(layout.num_rows, device=self.device) >= layout.num_slots
        plain = self.milliseconds(lambda: network.judge(x, wanted))
        coupled = self.milliseconds(lambda: network.judge(x, wanted, layout, is_gated))
        self.tell(
            "kernel",
            name="couple",
            rows=layout.num_rows,
            us=round(1e3 * (coupled - plain), 2),
            us_with_the_head=round(1e3 * coupled, 2),
        )

    def small_kernels(self, loop: DeviceLoop, num_rows: int, x: torch.Tensor) -> None:
        """What moves few bytes: microseconds; attention over several contexts."""
        network, config = loop.network, loop.model.config
        kernels, dtype = network.kernels, network.embedding_VD.dtype
        layout = Layout.causal(num_rows, self.device)
        layers = range(config.num_layers)
        queries = torch.randn(num_rows, config.num_heads, config.head_dim, device=self.device)
        queries = queries.to(dtype)
        block = loop.model.blocks[0]
        parts = kernels.linear(x, block.attention.qkv.weight)
        stream = x.float()
        weight = block.attention_norm.weight
        outputs = kernels.linear(x, block.attention.out.weight[: config.width, : config.width])
        ms = self.over(
            list(layers), lambda _: kernels.add_norm(stream, outputs, weight, 1e-6, dtype)
        )
        self.tell("kernel", name="add_norm", rows=num_rows, us=round(1e3 * ms, 2))
        sequence = torch.zeros(1, dtype=torch.int64, device=self.device)
        for context in self.options.contexts:
            length = torch.tensor([context], device=self.device)
            ms = self.over(
                list(layers),
                lambda index, n=length: kernels.rotate_and_store(
                    parts,
                    block.attention.qkv.bias,
                    network.cos_TK,
                    network.sin_TK,
                    layout.offsets_R,
                    layout.bounds,
                    sequence,
                    n,
                    *loop.arena.layer(index),
                ),
            )
            self.tell("kernel", name="rope", rows=num_rows, context=context, us=round(1e3 * ms, 2))
            bucket = loop.bucket(context + num_rows)
            ms = self.over(
                list(layers),
                lambda index, n=length, b=bucket: kernels.attention(
                    queries,
                    *loop.arena.layer(index),
                    layout.is_visible_RR,
                    layout.bounds,
                    sequence,
                    n,
                    b,
                ),
            )
            num_bytes = 2 * (context + num_rows) * config.num_kv_heads * config.head_dim
            self.tell(
                "kernel",
                name="attention",
                rows=num_rows,
                context=context,
                bucket=bucket,
                us=round(1e3 * ms, 2),
                gbytes_per_s=round(num_bytes * queries.element_size() / ms / 1e6),
            )

    def sweep(self, loop: DeviceLoop) -> None:
        """Sizes of programs, one by one around what is set: what to set on this GPU."""
        network, config = loop.network, loop.model.config
        layer = loop.model.blocks[0]
        dtype, context = network.embedding_VD.dtype, min(1024, loop.room(0) // 2)
        for num_rows in (16, 64):
            x = torch.randn(num_rows, config.width, device=self.device).to(dtype)
            wide = torch.randn(num_rows, config.ffn_width, device=self.device).to(dtype)
            wanted = torch.zeros(num_rows, dtype=torch.int64, device=self.device)
            queries = torch.randn(num_rows, config.num_heads, config.head_dim, device=self.device)
            queries = queries.to(dtype)
            layout = Layout.causal(num_rows, self.device)
            contexts = (torch.zeros_like(wanted[:1]), torch.full_like(wanted[:1], context))
            place = (layout.is_visible_RR, layout.bounds, *contexts)

            def heads(q=queries, place=place) -> float:
                return self.over(
                    list(range(config.num_layers)),
                    lambda index: network.kernels.attention(
                        q, *loop.arena.layer(index), *place, 2 * context
                    ),
                )

            plans = {
                "qkv": (linear, self.cold(layer.attention.qkv, network.kernels.linear, x)),
                "down": (linear, self.cold(layer.ffn.down, network.kernels.linear, wide)),
                "gate_up": (linear, self.cold(layer.ffn.gate_up, network.kernels.swiglu, x)),
                "judge": (
                    head,
                    lambda x=x, w=wanted: self.milliseconds(lambda: network.judge(x, w)),
                ),
                "attention": (attention, heads),
            }
            for name, (module, measure) in plans.items():
                for setting, values in SWEPT[name].items():
                    for value in values:
                        self.try_setting(name, num_rows, module, setting, value, measure)

    def cold(
        self, module: torch.nn.Linear, kernel: Callable[..., object], x: torch.Tensor
    ) -> Callable[[], float]:
        copies = max(L2_BYTES // module.weight.nbytes, 1)
        weights = [torch.randn_like(module.weight) for _ in range(copies)]
        return lambda: self.over(weights, lambda weight: kernel(x, weight))

    def try_setting(
        self,
        name: str,
        num_rows: int,
        module: ModuleType,
        setting: str,
        value: int,
        measure: Callable[[], float],
    ) -> None:
        before = getattr(module, setting)
        setattr(module, setting, value)
        record: dict[str, object] = {"is_set": value == before}
        try:
            record["us"] = round(1e3 * measure(), 2)
        except Exception as error:
            record["error"] = f"{type(error).__name__}: {error}"[:200]
        finally:
            setattr(module, setting, before)
        self.tell("sweep", name=name, rows=num_rows, setting=setting, value=value, **record)
