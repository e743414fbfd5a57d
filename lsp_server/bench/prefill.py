"""`bench prefill`: how long a prompt of so many tokens takes that the engine has never seen.

The time runs until the first token is there, splitting the text into tokens included. Knows neither
processes nor terminals.
"""

import contextlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from lsp_server.bench.decode import RIVAL, Run, read_run
from lsp_server.bench.engines import Contenders
from lsp_server.bench.figures import spread
from lsp_server.bench.line import Line, Report
from lsp_server.bench.prompts import read_prompts
from model.format.tokenizer import Tokenizer
from model.weight_file import Progress

OURS = "ours"


async def measure(
    contenders: Contenders,
    tokenizer: Tokenizer,
    report: Report,
    *,
    sizes: Sequence[int],
    num_prompts: int,
) -> dict[str, Any]:
    """Figures for each size of prompt, and what memory the processes have in the end.

    Args:
        contenders: who is asked.
        tokenizer: of their vocabulary.
        report: is told how far it is.
        sizes: tokens of a prompt.
        num_prompts: of each size; more than the sample has holes are all.

    Raises:
        EngineFailedError: if one gives no answer.
    """
    lanes: list[tuple[str, Line]] = [(OURS, contenders.ours)]
    if contenders.rival is not None:
        lanes.append((RIVAL, contenders.rival))
    layout = contenders.settings.layout
    records = []
    for size_index, size in enumerate(sizes):
        prompts = read_prompts(tokenizer, size)[:num_prompts]
        runs: dict[str, list[Run]] = {name: [] for name, _ in lanes}
        for name, line in lanes:
            await line.complete(prompts[-1].request(f"warm-up {name}", "ar", layout, 1))
        for index, prompt in enumerate(prompts):
            for name, line in lanes[index % len(lanes) :] + lanes[: index % len(lanes)]:
                if line is contenders.ours:
                    await line.forget()
                request = prompt.request(f"{size} {index} {name}", "ar", layout, 1)
                runs[name].append(read_run(await line.complete(request)))
            done = (size_index + (index + 1) / len(prompts)) / len(sizes)
            report(Progress("measuring prefill", done))
        records.append({"size_tokens": size, **summarize(runs)})
    memory = {name: memory_mib(line.ready.pid) for name, line in lanes}
    return {"sizes": records, "memory": memory}


def summarize(runs: dict[str, list[Run]]) -> dict[str, Any]:
    """What comes out of runs over the same prompts in the same order."""
    record: dict[str, Any] = {"contenders": {name: figures(of) for name, of in runs.items()}}
    if RIVAL in runs:
        both = zip(runs[OURS], runs[RIVAL], strict=True)
        times = [b.total_ms / a.total_ms for a, b in both]
        record["speed_ratios"] = {f"{OURS}/{RIVAL}": spread(times, "times")}
    return record


def figures(runs: Sequence[Run]) -> dict[str, Any]:
    """Of one contender; tokens that were cached after all do not count as read."""
    rates = [1000 * (run.prompt_tokens - run.cached_tokens) / run.total_ms for run in runs]
    return {
        "prompt_tokens_p50": spread([run.prompt_tokens for run in runs], "tokens")["p50_tokens"],
        "most_cached_tokens": max(run.cached_tokens for run in runs),
        "rate": spread(rates, "tokens_per_s"),
        "time": spread([run.total_ms for run in runs], "ms"),
    }


def memory_mib(pid: int) -> dict[str, int | None]:
    """Resident memory of a process now and at most so far; None where the system does not say."""
    values: dict[str, int | None] = {"resident_mib": None, "most_resident_mib": None}
    with contextlib.suppress(OSError):
        for line in Path(f"/proc/{pid}/status").read_text().splitlines():
            name, _, value = line.partition(":")
            if name in ("VmRSS", "VmHWM"):
                key = "resident_mib" if name == "VmRSS" else "most_resident_mib"
                values[key] = round(int(value.split()[0]) / 1024)
    return values


def show(record: dict[str, Any], console: Console) -> None:
    """A table of sizes and contenders, then their memory."""
    table = Table(box=None, pad_edge=False)
    for column in ("tokens", "", "tokens/s", "quartiles", "ms", "p95"):
        table.add_column(column, justify="left" if not column else "right")
    for size in record["sizes"]:
        for name, one in size["contenders"].items():
            rate, time = one["rate"], one["time"]
            table.add_row(
                f"{one['prompt_tokens_p50']:.0f}",
                name,
                f"{rate['p50_tokens_per_s']:.0f}",
                f"{rate['p25_tokens_per_s']:.0f} to {rate['p75_tokens_per_s']:.0f}",
                f"{time['p50_ms']:.0f}",
                f"{time['p95_ms']:.0f}",
            )
    console.print()
    console.print(table)
    for size in record["sizes"]:
        for name, ratio in size.get("speed_ratios", {}).items():
            console.print(
                f"{size['size_tokens']} tokens, {name}: {ratio['p50_times']:.2f} times as fast "
                f"({ratio['p25_times']:.2f} to {ratio['p75_times']:.2f}, n {ratio['n']})"
            )
    for name, memory in record["memory"].items():
        if memory["resident_mib"] is not None:
            console.print(
                f"memory of {name}: {memory['resident_mib']:,} MiB resident, "
                f"at most {memory['most_resident_mib']:,}"
            )
