"""`bench decode`: tokens a second by mode, and of llama.cpp, over the same holes in turns.

Every request is a fresh one: what the engine has cached is pushed out before, so that no mode
replays what another has written. Knows neither processes nor terminals.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from rich.console import Console
from rich.table import Table

from lsp_server.bench.engines import Contenders
from lsp_server.bench.figures import spread
from lsp_server.bench.line import Line, Report
from lsp_server.bench.prompts import read_prompts
from model.format.tokenizer import Tokenizer
from model.weight_file import Progress
from sampler.messages import Finished, Mode

RIVAL = "llama.cpp"
WARM_UP = "warm-up"


@dataclass(frozen=True)
class Run:
    """One answer and what it took."""

    text: str
    tokens: int
    forwards: int
    prompt_tokens: int
    cached_tokens: int
    prefill_ms: float
    total_ms: float

    @property
    def is_rated(self) -> bool:
        """Whether there was anything to decode: the first token comes with prefill."""
        return self.tokens > 1 and self.forwards > 0

    @property
    def ms_per_token(self) -> float:
        """Behind prefill."""
        return (self.total_ms - self.prefill_ms) / (self.tokens - 1)


def read_run(finished: Finished) -> Run:
    """What an answer says of itself."""
    stats = finished.stats
    return Run(
        finished.text,
        stats.tokens,
        stats.forwards,
        stats.prefill_tokens + stats.cached_tokens,
        stats.cached_tokens,
        stats.prefill_ms,
        stats.total_ms,
    )


def modes_of(chosen: Mode) -> tuple[Mode, ...]:
    """The two modes that write the same text, and the one that was asked for if it is another."""
    return ("ar", "exact") if chosen in ("ar", "exact") else ("ar", "exact", chosen)


async def measure(
    contenders: Contenders,
    tokenizer: Tokenizer,
    report: Report,
    *,
    sizes: Sequence[int],
    num_holes: int,
    max_new_tokens: int,
) -> list[dict[str, Any]]:
    """Figures for each size of context.

    Args:
        contenders: who is asked.
        tokenizer: of their vocabulary.
        report: is told how far it is.
        sizes: tokens of context.
        num_holes: of the sample; more than it has are all.
        max_new_tokens: of each answer.

    Raises:
        EngineFailedError: if one gives no answer.
    """
    lanes: list[tuple[str, Mode, Line]] = [
        (mode, mode, contenders.ours) for mode in modes_of(contenders.settings.mode)
    ]
    if contenders.rival is not None:
        lanes.append((RIVAL, "ar", contenders.rival))
    layout = contenders.settings.layout
    records = []
    for size_index, size in enumerate(sizes):
        prompts = read_prompts(tokenizer, size)[:num_holes]
        runs: dict[str, list[Run]] = {name: [] for name, _, _ in lanes}
        for name, mode, line in lanes:
            await line.complete(prompts[-1].request(f"{WARM_UP} {name}", mode, layout, 4))
        for index, prompt in enumerate(prompts):
            begin = index % len(lanes)
            for name, mode, line in lanes[begin:] + lanes[:begin]:
                if line is contenders.ours:
                    await line.forget()
                name_of_run = f"{size} {index} {name}"
                request = prompt.request(name_of_run, mode, layout, max_new_tokens)
                runs[name].append(read_run(await line.complete(request)))
            done = (size_index + (index + 1) / len(prompts)) / len(sizes)
            report(Progress("measuring decode", done))
        records.append({"context_tokens": size, **summarize(runs)})
    return records


def summarize(runs: dict[str, list[Run]]) -> dict[str, Any]:
    """What comes out of runs over the same holes in the same order: by contender, and in pairs."""
    pairs = [
        (name, base)
        for base in ("ar", RIVAL)
        for name in runs
        if base in runs and name not in (base, RIVAL)
    ]
    others = [name for name in runs if name != "ar"]
    return {
        "contenders": {name: figures(of_one) for name, of_one in runs.items()},
        "speed_ratios": {f"{name}/{base}": ratios(runs[name], runs[base]) for name, base in pairs},
        "same_text_as_ar_share": {name: same_share(runs[name], runs["ar"]) for name in others},
    }


def figures(runs: Sequence[Run]) -> dict[str, Any]:
    """Of one contender; answers of a single token count only for the time with prefill."""
    rated = [run for run in runs if run.is_rated]
    num_forwards = sum(run.forwards for run in rated)
    num_tokens = sum(run.tokens - 1 for run in rated)
    decode_ms = sum(run.total_ms - run.prefill_ms for run in rated)
    total_ms = sum(run.total_ms for run in runs)
    return {
        "holes": len(runs),
        "tokens": sum(run.tokens for run in runs),
        "prompt_tokens_p50": spread([run.prompt_tokens for run in runs], "tokens")["p50_tokens"],
        "most_cached_tokens": max(run.cached_tokens for run in runs),
        "behind_prefill": {
            **spread([1000 / run.ms_per_token for run in rated], "tokens_per_s"),
            "all_tokens_per_s": _rate(num_tokens, decode_ms),
        },
        "per_token": spread([run.ms_per_token for run in rated], "ms"),
        "with_prefill": {
            **spread([1000 * run.tokens / run.total_ms for run in runs], "tokens_per_s"),
            "all_tokens_per_s": _rate(sum(run.tokens for run in runs), total_ms),
        },
        "tokens_per_forward": round(num_tokens / num_forwards, 3) if num_forwards else None,
    }


def ratios(runs: Sequence[Run], base: Sequence[Run]) -> dict[str, Any]:
    """How many times as fast behind prefill, hole by hole, where both had something to decode."""
    both = [(a, b) for a, b in zip(runs, base, strict=True) if a.is_rated and b.is_rated]
    return spread([b.ms_per_token / a.ms_per_token for a, b in both], "times")


def same_share(runs: Sequence[Run], base: Sequence[Run]) -> float:
    """Share of the holes in which both have written the same text."""
    pairs = list(zip(runs, base, strict=True))
    return round(sum(a.text == b.text for a, b in pairs) / len(pairs), 3)


def _rate(tokens: int, ms: float) -> float | None:
    return round(1000 * tokens / ms, 2) if ms > 0 else None


def show(records: Sequence[dict[str, Any]], console: Console) -> None:
    """A table for each size of context."""
    for record in records:
        console.print()
        console.print(f"[bold]{record['context_tokens']} tokens of context[/]")
        table = Table(box=None, pad_edge=False)
        for column in ("", "tokens/s", "quartiles", "ms/token", "p95", "tokens/forward"):
            table.add_column(column, justify="left" if not column else "right")
        table.add_column("with prefill", justify="right")
        for name, one in record["contenders"].items():
            table.add_row(name, *_cells(one))
        console.print(table)
        for name, ratio in record["speed_ratios"].items():
            if ratio["n"]:
                console.print(
                    f"{name}: {ratio['p50_times']:.2f} times as fast "
                    f"({ratio['p25_times']:.2f} to {ratio['p75_times']:.2f}, n {ratio['n']})"
                )
        for name, share in record["same_text_as_ar_share"].items():
            console.print(f"{name} wrote the text of ar in {share:.0%} of the holes")


def _cells(one: dict[str, Any]) -> list[str]:
    rate, per_token = one["behind_prefill"], one["per_token"]
    with_prefill = f"{one['with_prefill']['p50_tokens_per_s']:.1f}"
    if not rate["n"]:
        return ["-", "-", "-", "-", "-", with_prefill]
    return [
        f"{rate['p50_tokens_per_s']:.1f}",
        f"{rate['p25_tokens_per_s']:.1f} to {rate['p75_tokens_per_s']:.1f}",
        f"{per_token['p50_ms']:.1f}",
        f"{per_token['p95_ms']:.1f}",
        f"{one['tokens_per_forward']:.2f}",
        with_prefill,
    ]
