"""The native CPU kernels beside the PyTorch path: T(W) behind a cache, prefill, memory, load time.

    python tests/bench/bench_native.py [--rows 1 8 16 32] [--contexts 256 1024] [--chunks 128 512]
        [--threads 2] [--path avx512] [--rounds 5] [--native-only]

Random weights in the shape of the default model; nothing is downloaded. All forwards are measured
in turn in the same rounds, and the best of each counts, because a busy machine slows all of them.
The native forwards end in tokens and confidence, PyTorch's in logits, as the engine uses them. The
last line is one JSON object; times are in milliseconds.
"""

import argparse
import json
import os
import time
from collections.abc import Callable
from pathlib import Path

import torch

from model.config import NAMED
from model.network import KVCache, Transformer
from model.packed import pack
from sampler.kernels.cpu.native import NativeModel

CONFIG = NAMED["qwen2.5-coder-0.5b"]
CPU = torch.device("cpu")


def random_model() -> Transformer:
    """In bf16, filled from a pattern: what a weight is decides no time here."""
    with torch.device("meta"):
        model = Transformer(CONFIG)
    model = model.to(torch.bfloat16).to_empty(device=CPU).eval().requires_grad_(False)
    model.head.weight = model.embedding.weight
    pattern = (torch.randn(1 << 16) * 0.02).bfloat16()
    for parameter in model.parameters():
        flat = parameter.view(-1)
        for begin in range(0, len(flat), len(pattern)):
            flat[begin : begin + len(pattern)] = pattern[: len(flat) - begin]
    return model


def resident_mib() -> float:
    """What this process holds of the machine's memory; 0 where the system does not say."""
    try:
        pages = int(Path("/proc/self/statm").read_text().split()[1])
    except FileNotFoundError:
        return 0.0
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20


def best_ms(actions: dict[str, Callable[[], object]], num_rounds: int) -> dict[str, float]:
    """The shortest time of each action; one unmeasured round comes first."""
    best = dict.fromkeys(actions, float("inf"))
    for round_index in range(num_rounds + 1):
        for name, action in actions.items():
            time.sleep(0.01)  # PyTorch's threads spin for some time after they have worked
            begin = time.perf_counter()
            action()
            if round_index > 0:
                best[name] = min(best[name], 1e3 * (time.perf_counter() - begin))
    return best


@torch.inference_mode()
def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, nargs="+", default=[1, 8, 16, 32])
    parser.add_argument("--contexts", type=int, nargs="+", default=[256, 1024])
    parser.add_argument("--chunks", type=int, nargs="+", default=[128, 512])
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--path", default="")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--native-only", action="store_true")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    torch.manual_seed(0)
    num_slots = max([*(c + max(options.rows) for c in options.contexts), *options.chunks])
    ids_BT = torch.randint(0, CONFIG.vocab_size, (1, num_slots))

    model = random_model()
    begin = time.perf_counter()
    native = NativeModel(model, threads=options.threads, path=options.path)
    pack_ms = 1e3 * (time.perf_counter() - begin)
    del model
    cache = native.allocate(num_slots)
    native.judge(ids_BT, cache=cache)
    mib = resident_mib()
    contenders = {"native": (native.judge, native, cache)}
    if not options.native_only:
        plain = random_model()
        pack(plain)
        kv = KVCache.allocate(CONFIG, num_slots, dtype=torch.bfloat16, device=CPU)
        contenders["torch"] = (plain, plain, kv)

    actions: dict[str, Callable[[], object]] = {}
    for context in options.contexts:
        for num_rows in options.rows:
            for name, (forward, _, kv) in contenders.items():
                actions[f"{name}_{num_rows}_at_{context}"] = (
                    lambda forward=forward, kv=kv, start=context, end=context + num_rows: forward(
                        ids_BT[:, start:end], cache=kv, start=start
                    )
                )
    for chunk in options.chunks:
        for name, (_, forward, kv) in contenders.items():
            actions[f"{name}_prefill_{chunk}"] = lambda forward=forward, kv=kv, chunk=chunk: (
                forward(ids_BT[:, :chunk], cache=kv, rows=slice(0, 0))
            )
    best = best_ms(actions, options.rounds)
    record = {
        "bench": "native",
        "path": native.path,
        "threads": options.threads,
        "pack_ms": round(pack_ms),
        "weight_mib": round(native.weight_bytes / 2**20),
        "resident_mib": round(mib),
        "ms": {name: round(best[name], 1) for name in best if "prefill" not in name},
        "prefill_tokens_per_s": {
            name: round(1e3 * int(name.rsplit("_", 1)[1]) / best[name])
            for name in best
            if "prefill" in name
        },
    }
    print(json.dumps(record))


if __name__ == "__main__":
    main()
