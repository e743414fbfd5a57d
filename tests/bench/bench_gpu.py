"""The device loop on a GPU: forwards, loops and kernels beside the measured copy rate.

    python3 tests/bench/bench_gpu.py [--out DIR] [--weights FILE [--adapter FILE]] [--sweep]

Weights are random, of the 0.5B shape: speed does not depend on them. Acceptance does, so loops are
measured by steps, and tokens per second are computed for a number of accepted drafts that is given,
not measured (`is_simulated`). With `--weights` it is measured, too, on completions of this
repository's own files. Every record is one JSON line, printed and in DIR/bench_gpu.jsonl; the last
one sums up. docs/gpu.md has the call for a lent GPU.
"""

import argparse
import os
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT))

import torch  # noqa: E402

from model.adapter import Adapter, AdapterConfig  # noqa: E402
from model.config import NAMED  # noqa: E402
from model.network import Transformer  # noqa: E402
from sampler.cuda.loop import DeviceLoop, LoopSettings  # noqa: E402
from sampler.cuda.runner import GraphRunner  # noqa: E402
from sampler.forward import Forward  # noqa: E402
from sampler.kv_cache import CachedSequence  # noqa: E402
from sampler.runner import Runner  # noqa: E402
from tests.bench.gpu_kernels import KernelBench  # noqa: E402

LAYOUTS = {
    "1 row": (0,),
    "4 rows": (3,),
    "13 rows, tapered": (5, 3, 2),
    "16 rows": (3,) * 4,
    "20 rows": (4,) * 4,
    "30 rows": (5,) * 5,
    "64 rows": (7,) * 8,
}
FAST_STEPS = (1, 2, 4)
ACCEPTED = (0.0, 0.5, 1.0, 1.5, 2.0, 3.0)
TOGETHER = (1, 2, 4)
COMPLETION = 32
TYPED = 4


class Bench(KernelBench):
    def machine(self) -> None:
        import triton

        num_bytes = 4 * 1024**3 if self.is_cuda else 1024**2
        source = torch.randint(0, 255, (num_bytes,), dtype=torch.uint8, device=self.device)
        target = torch.empty_like(source)
        ms = self.milliseconds(lambda: target.copy_(source), repeats=10)
        self.copy_rate = 2 * num_bytes / ms * 1e3
        tiny = torch.zeros(1, device=self.device)
        many_ms = self.milliseconds(lambda: [tiny.add_(1) for _ in range(200)])
        self.tell(
            "machine",
            device=torch.cuda.get_device_name() if self.is_cuda else "cpu",
            torch=torch.__version__,
            triton=triton.__version__,
            copy_gbytes_per_s=round(self.copy_rate / 1e9),
            launch_us_in_a_graph=round(1e3 * many_ms / 200, 2),
        )

    def forwards(self, loops: dict[str, DeviceLoop]) -> dict[str, float]:
        """Steps by layout and context."""
        found: dict[str, float] = {}
        for context in self.options.contexts:
            for name, loop in loops.items():
                kind = "exact" if loop.network.has_adapter and name != "1 row" else "ar"
                found[f"{name} {context}"] = self.step(loop, kind, context)
                rows = loop.rows(kind)
                self.tell(
                    "step",
                    mode=kind,
                    layout=name,
                    rows=rows,
                    context=context,
                    ms=round(found[f"{name} {context}"], 4),
                    is_target=name == "16 rows" and context == 1024,
                )
        return found

    def diffusion(self, loops: dict[int, DeviceLoop]) -> dict[str, float]:
        """Mode `diffusion` by denoising steps; it accepts all it drafts: nothing is simulated."""
        found: dict[str, float] = {}
        for context in self.options.contexts:
            for num_steps, loop in loops.items():
                ms = self.step(loop, "diffusion", context)
                block_size = loop.settings.block_size
                self.completion(loop, "diffusion", context, COMPLETION)  # captures
                whole_ms = statistics.median(
                    self.completion(loop, "diffusion", context, COMPLETION, COMPLETION)
                    for _ in range(self.options.repeats)
                )
                self.tell(
                    "diffusion",
                    rows=block_size,
                    denoising_steps=num_steps,
                    context=context,
                    ms=round(ms, 4),
                    ms_per_forward=round(ms / (num_steps + 1), 4),
                    tokens_per_s=round(block_size / ms * 1e3),
                    completion_tokens=COMPLETION,
                    completion_p50_ms=round(whole_ms, 3),
                    is_target=context == 1024,
                )
                found[f"{num_steps} steps {context}"] = ms
        return found

    def step(self, loop: DeviceLoop, kind: str, context: int) -> float:
        """Milliseconds of a step, of several in a row as a completion has them."""

        def launch() -> None:
            for ahead in range(num_steps):
                loop.launch(kind, context + ahead * loop.rows(kind))

        num_steps = 4 if self.is_cuda else 1
        times = []
        for _ in range(self.options.repeats + 1 if self.is_cuda else 1):
            loop.begin(kind, 0, context, 5, 2**40)
            if self.is_cuda:
                torch.cuda.synchronize()
                times.append(self.replays(launch, 1) / num_steps)
            else:
                times.append(self.milliseconds(launch))
        return statistics.median(times[1:] or times)  # the first one captures

    def together(self, runner: GraphRunner, context: int) -> None:
        """Several requests' forwards of 16 rows in one launch, as the engine asks for them."""
        forwards = []
        for _ in range(max(TOGETHER)):
            sequence = CachedSequence(runner.allocate(runner.arena.num_positions))
            sequence.extend([3] * context)
            forwards.append(Forward(sequence, [5] * 4, (3,) * 4))
        for count in TOGETHER:
            ms = self.host_milliseconds(partial(runner.advance_together, forwards[:count]))
            ms_apart = self.host_milliseconds(
                partial(Runner.advance_together, runner, forwards[:count])
            )
            self.tell(
                "together",
                sequences=count,
                rows=16 * count,
                context=context,
                ms=round(ms, 4),
                ms_one_after_the_other=round(ms_apart, 4),
            )

    def host_milliseconds(self, forward: Callable[[], object]) -> float:
        """Median of what blocks the host; the first ones capture."""
        times = []
        for _ in range(self.options.repeats + 2):
            started = time.perf_counter()
            forward()
            times.append(1000 * (time.perf_counter() - started))
        return statistics.median(times[2:])

    def host(self, loop: DeviceLoop, context: int) -> None:
        """What a launched step costs the host."""
        loop.begin("exact", 0, context, 5, 2**40)
        loop.launch("exact", context)
        started, num_steps = time.perf_counter(), 8
        for _ in range(num_steps):
            loop.launch("exact", context)
        us = 1e6 * (time.perf_counter() - started) / num_steps
        self.tell("host", us_per_launch=round(us, 1))

    def loops(self, loops: dict[str, DeviceLoop], context: int) -> dict[str, float]:
        """Whole completions with a warm cache, the host included; the AR rival in turns."""
        ar_ms: list[float] = []
        times: dict[tuple[str, float], list[float]] = {}
        for _ in range(self.options.repeats):
            ar_ms.append(self.completion(loops["1 row"], "ar", context, COMPLETION))
            for name, loop in loops.items():
                if name == "1 row":
                    continue
                for accepted in ACCEPTED:
                    num_steps = -(-COMPLETION // (1 + accepted))
                    ms = self.completion(loop, "exact", context, int(num_steps))
                    times.setdefault((name, accepted), []).append(ms)
        rival = statistics.median(ar_ms)
        self.tell(
            "completion",
            mode="ar",
            context=context,
            tokens=COMPLETION,
            p50_ms=round(rival, 3),
            p95_ms=round(sorted(ar_ms)[int(0.95 * (len(ar_ms) - 1))], 3),
            tokens_per_s=round(COMPLETION / rival * 1e3),
        )
        best: dict[str, float] = {"ar_p50_ms": rival}
        for (name, accepted), values in times.items():
            ms = statistics.median(values)
            self.tell(
                "completion",
                mode="exact",
                layout=name,
                context=context,
                tokens=COMPLETION,
                accepted_per_step=accepted,
                is_simulated=True,
                p50_ms=round(ms, 3),
                tokens_per_s=round(COMPLETION / ms * 1e3),
                times_ar=round(rival / ms, 2),
            )
            key = f"p50_ms_at_{accepted}"
            best[key] = min(best.get(key, ms), ms)
        return best

    def completion(
        self,
        loop: DeviceLoop,
        mode: str,
        context: int,
        num_steps: int,
        max_new_tokens: int | None = None,
    ) -> float:
        """Milliseconds from a few typed tokens to the report of the last step."""
        limit = max_new_tokens or loop.room(context)
        if self.is_cuda:
            torch.cuda.synchronize()
        started = time.perf_counter()
        loop.prefill(0, context - TYPED, [3] * TYPED)
        for index, _ in enumerate(loop.generate(mode, 0, context, 5, limit)):
            if index + 1 == num_steps:
                break
        return 1000 * (time.perf_counter() - started)

    def real(self, path: Path, adapter: Path | None) -> None:
        """Completions of this repository's own files: acceptance as it is, beside AR in turns."""
        from model.format.tokenizer import Tokenizer
        from model.format.vocabulary import read_vocabulary
        from model.weights import load_model

        vocabulary = read_vocabulary(path)
        tokenizer = Tokenizer(vocabulary)
        dtype = torch.bfloat16 if self.is_cuda else torch.float32
        model = load_model(path, dtype=dtype, device=self.device, adapter=adapter)
        loop = DeviceLoop(model, num_sequences=1)
        sums: dict[str, list[float]] = {
            mode: [0, 0, 0] for mode in ("ar", "exact", "fast", "diffusion")
        }
        times: dict[str, list[float]] = {mode: [] for mode in sums}
        texts: dict[str, list[int]] = {}
        num_same = num_all = 0
        prompts = list(self.prompts())[: self.options.num_prompts]
        for prompt in prompts:
            context = tokenizer.encode(prompt)[-1024:]
            for mode in sums:
                loop.prefill(0, 0, context[:-1])
                for _ in range(2):  # the first time may capture
                    if self.is_cuda:
                        torch.cuda.synchronize()
                    started = time.perf_counter()
                    place = (0, len(context) - 1, context[-1])
                    steps = list(loop.generate(mode, *place, COMPLETION, vocabulary.end_ids))
                    ms = 1000 * (time.perf_counter() - started)
                texts[mode] = [token for step in steps for token in step.tokens]
                times[mode].append(ms)
                for index, value in enumerate((len(texts[mode]), len(steps), ms)):
                    sums[mode][index] += value
            num_all += 1
            num_same += texts["exact"] == texts["ar"]
        for mode, (num_tokens, num_steps, ms) in sums.items():
            self.tell(
                "real",
                mode=mode,
                has_adapter=loop.network.has_adapter,
                prompts=len(prompts),
                tokens=num_tokens,
                tokens_per_step=round(num_tokens / max(num_steps, 1), 3),
                tokens_per_s=round(num_tokens / ms * 1e3),
                p50_ms=round(statistics.median(times[mode]), 3),
                times_ar=round(num_tokens / ms / (sums["ar"][0] / sums["ar"][2]), 2),
            )
        self.tell("exactness", completions=num_all, exact_equals_ar=num_same)

    def prompts(self) -> Iterator[str]:
        for path in sorted((ROOT / "sampler").rglob("*.py")):
            text = path.read_text()
            for share in (0.4, 0.7):
                yield text[: int(share * len(text))]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    has_gpu = torch.cuda.is_available()
    parser.add_argument("--out", default=os.environ.get("OUT"))
    parser.add_argument("--device", default="cuda" if has_gpu else "cpu")
    parser.add_argument("--shape", default="qwen2.5-coder-0.5b" if has_gpu else "debug")
    parser.add_argument("--rows", type=int, nargs="+", default=[1, 16, 64])
    parser.add_argument(
        "--contexts", type=int, nargs="+", default=[256, 1024, 3072] if has_gpu else [64]
    )
    parser.add_argument("--layouts", nargs="+", default=list(LAYOUTS))
    parser.add_argument("--repeats", type=int, default=20 if has_gpu else 1)
    parser.add_argument("--weights", type=Path)
    parser.add_argument("--adapter", type=Path)
    parser.add_argument("--sweep", action="store_true", help="time other sizes of programs")
    parser.add_argument("--num-prompts", type=int, default=40)
    options = parser.parse_args()
    bench = Bench(options)
    bench.machine()
    torch.manual_seed(0)
    config = NAMED[options.shape]
    dtype = torch.bfloat16 if bench.is_cuda else torch.float32
    with bench.device:
        model = Transformer(config).to(dtype).eval().requires_grad_(False)
        adapter = Adapter(config, AdapterConfig(32, 64.0, coupling_rank=128))
        model.adapter = adapter.to(dtype).requires_grad_(False)
        model.adapter.randomize()
    num_positions = min(max(options.contexts) + 600, config.max_positions)
    loops = {
        name: DeviceLoop(
            model,
            num_sequences=1,
            num_positions=num_positions,
            settings=LoopSettings(branch_sizes=LAYOUTS[name]),
        )
        for name in {"1 row", "16 rows", *options.layouts}
    }
    canvas_loops = {
        num_steps: DeviceLoop(
            model,
            num_sequences=1,
            num_positions=num_positions,
            settings=LoopSettings(max_steps=num_steps),
        )
        for num_steps in FAST_STEPS
    }
    with torch.no_grad():
        for loop in (*loops.values(), *canvas_loops.values()):
            loop.arena.keys_QNGSK.normal_()
            loop.arena.values_QNGSK.normal_()
        steps = bench.forwards(loops)
        canvas = bench.diffusion(canvas_loops)
        context = 1024 if 1024 in options.contexts else options.contexts[0]
        bench.host(loops["16 rows"], context)
        runner = GraphRunner(model, num_sequences=max(TOGETHER), num_positions=num_positions)
        bench.together(runner, context)
        best = bench.loops(loops, context)
        bench.kernels(loops["16 rows"])
        if options.sweep:
            bench.sweep(loops["16 rows"])
        if options.weights is not None:
            bench.real(options.weights, options.adapter)
    bench.tell(
        "summary",
        copy_gbytes_per_s=round(bench.copy_rate / 1e9),
        context=context,
        step_ms={name: round(ms, 4) for name, ms in steps.items()},
        diffusion_ms={name: round(ms, 4) for name, ms in canvas.items()},
        completion={name: round(ms, 3) for name, ms in best.items()},
        seconds=round(time.perf_counter() - bench.started),
    )


if __name__ == "__main__":
    main()
