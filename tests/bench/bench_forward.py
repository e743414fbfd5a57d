"""How near the network's forward comes to what the machine can do: matrix rate and memory rate.

    python tests/bench/bench_forward.py [--rows 1 8 16] [--context 1024] [--chunk 512]
        [--threads 2] [--dtype bfloat16] [--plain]

Random weights in the shape of the default model; nothing is downloaded. Prefill of the context in
chunks is held against the best rate of a plain matrix product; a forward of a few rows against the
time that reading all weights once takes. All are measured in turn in the same rounds, and the best
of each counts, because a busy machine slows all of them. The last line is one JSON object.
"""

import argparse
import json
import time
from collections.abc import Callable

import torch

from model.config import NAMED, ModelConfig
from model.network import KVCache, Transformer
from model.packed import pack

MATRIX_WIDTH = 4096
READ_BYTES = 1 << 28


def linear_weights(config: ModelConfig) -> int:
    """Weights of all linear layers of all blocks."""
    q_width, kv_width = config.num_heads * config.head_dim, config.num_kv_heads * config.head_dim
    attention = config.width * (q_width + 2 * kv_width) + q_width * config.width
    return config.num_layers * (attention + 3 * config.width * config.ffn_width)


def best_seconds(actions: dict[str, Callable[[], object]], num_rounds: int) -> dict[str, float]:
    """The shortest time of each action; one unmeasured round comes first."""
    seconds = dict.fromkeys(actions, float("inf"))
    for round_index in range(num_rounds + 1):
        for name, action in actions.items():
            begin = time.perf_counter()
            action()
            if round_index > 0:
                seconds[name] = min(seconds[name], time.perf_counter() - begin)
    return seconds


@torch.inference_mode()
def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, nargs="+", default=[1, 8, 16])
    parser.add_argument("--context", type=int, default=1024)
    parser.add_argument("--chunk", type=int, default=512)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--dtype", default="bfloat16", choices=["bfloat16", "float32"])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--plain", action="store_true", help="leave the weights unpacked")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    torch.manual_seed(0)
    dtype, cpu = getattr(torch, options.dtype), torch.device("cpu")
    config = NAMED["qwen2.5-coder-0.5b"]

    with torch.device("meta"):
        model = Transformer(config)
    model = model.to(dtype).to_empty(device=cpu).eval().requires_grad_(False)
    model.head.weight = model.embedding.weight
    for parameter in model.parameters():
        parameter.normal_(0, 0.02)
    if not options.plain:
        pack(model)
    num_slots = options.context + max(options.rows)
    cache = KVCache.allocate(config, num_slots, dtype=dtype, device=cpu)
    ids_BT = torch.randint(0, config.vocab_size, (1, num_slots))

    def prefill() -> None:
        for begin in range(0, options.context, options.chunk):
            end = min(begin + options.chunk, options.context)
            model(ids_BT[:, begin:end], cache=cache, start=begin, rows=slice(0, 0))

    def forward(num_rows: int) -> None:
        end = options.context + num_rows
        model(ids_BT[:, options.context : end], cache=cache, start=options.context)

    left, right = (torch.randn(MATRIX_WIDTH, MATRIX_WIDTH).to(dtype) for _ in range(2))
    memory = torch.zeros(READ_BYTES // 8, dtype=torch.int64)
    actions: dict[str, Callable[[], object]] = {
        "matrix": lambda: left @ right,
        "memory": memory.sum,
        "prefill": prefill,
    }
    for num_rows in options.rows:
        actions[f"rows_{num_rows}"] = lambda num_rows=num_rows: forward(num_rows)
    seconds = best_seconds(actions, options.rounds)

    matrix_rate = 2 * MATRIX_WIDTH**3 / seconds["matrix"]
    memory_rate = READ_BYTES / seconds["memory"]
    weights = linear_weights(config)
    prefill_rate = 2 * weights * options.context / seconds["prefill"]
    pairs = options.context * (options.context + 1) / 2
    attention = 4 * config.num_layers * config.num_heads * config.head_dim * pairs
    weight_bytes = (weights + config.vocab_size * config.width) * dtype.itemsize
    record = {
        "bench": "forward",
        "threads": options.threads,
        "dtype": options.dtype,
        "is_packed": not options.plain,
        "context": options.context,
        "chunk": options.chunk,
        "matrix_gflops": round(matrix_rate / 1e9, 1),
        "memory_gbytes_per_s": round(memory_rate / 1e9, 1),
        "prefill_tokens_per_s": round(options.context / seconds["prefill"], 1),
        "prefill_share_linear": round(prefill_rate / matrix_rate, 3),
        "prefill_share_with_attention": round(
            (prefill_rate + attention / seconds["prefill"]) / matrix_rate, 3
        ),
        "forward_ms": {n: round(1e3 * seconds[f"rows_{n}"], 1) for n in options.rows},
        "forward_share_of_memory_rate": {
            n: round(weight_bytes / seconds[f"rows_{n}"] / memory_rate, 3) for n in options.rows
        },
    }
    print(json.dumps(record))


if __name__ == "__main__":
    main()
