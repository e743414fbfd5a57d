"""Figures of a run: one contender's own, and two contenders beside each other.

Pure. Only tasks that every contender of a run has finished count, so that a run that was stopped
in the middle compares like with like.
"""

import math
import random
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from training.evaluation.records import Contender, Run, Sample
from training.evaluation.scores import Paired, mcnemar, percentile, proportion_interval

_NUM_RESAMPLES = 1000


@dataclass(frozen=True)
class Summary:
    """One contender in one run. Shares are in [0, 1], None where nothing was told."""

    set: str
    contender: Contender
    n: int
    pass_rate: float | None
    pass_interval: tuple[float, float] | None
    """95 %, Wilson."""
    exact_match: float | None
    edit_similarity: float | None
    parses: float | None
    ended_by_itself: float
    """Share of completions that the model or the syntax ended, not a limit."""
    tokens: int
    forwards: float
    """Mean per task, without prefill."""
    tokens_per_forward: float | None
    accepted_per_block: float | None
    prefill_p50_ms: float
    decode_p50_ms: float
    p50_ms: float
    p95_ms: float
    tokens_per_second: float | None
    """Of the whole answer, prefill included."""
    decode_tokens_per_second: float | None
    memory_mib: float
    commits: tuple[str, ...]

    def record(self) -> dict[str, Any]:
        """The JSON object that the command prints."""
        return {
            "set": self.set,
            "n": self.n,
            "pass@1": self.pass_rate,
            "pass@1_interval": self.pass_interval,
            "exact_match": self.exact_match,
            "edit_similarity": self.edit_similarity,
            "parses": self.parses,
            "tokens_per_forward": self.tokens_per_forward,
            "accepted_per_block": self.accepted_per_block,
            "forwards": self.forwards,
            "prefill_p50_ms": self.prefill_p50_ms,
            "decode_p50_ms": self.decode_p50_ms,
            "p50_ms": self.p50_ms,
            "p95_ms": self.p95_ms,
            "tokens_per_second": self.tokens_per_second,
            "decode_tokens_per_second": self.decode_tokens_per_second,
            "ended_by_itself": self.ended_by_itself,
            "memory_mib": self.memory_mib,
            "mode": self.contender.mode,
            "engine": self.contender.engine,
            "layout": self.contender.layout,
            "name": self.contender.name,
            "model": self.contender.model,
            "adapter_sha256": self.contender.adapter_sha256,
            "commits": self.commits,
        }


@dataclass(frozen=True)
class Comparison:
    """Two contenders on the same tasks; times are those of the second over those of the first."""

    first: str
    second: str
    passed: Paired | None
    exact: Paired | None
    same_text: float
    """Share of tasks where both wrote the same."""
    time_ratio: float
    """Median over the tasks of total milliseconds; above 1 the first is faster."""
    time_ratio_interval: tuple[float, float]
    """95 % of the median, from resampled tasks (percentile bootstrap)."""
    decode_ratio: float | None
    """The same of what comes after prefill, where both had something to decode."""

    def record(self) -> dict[str, Any]:
        """As plain data."""
        fields = vars(self)
        return {
            key: vars(value) if isinstance(value, Paired) else value
            for key, value in fields.items()
        }


def common_tasks(run: Run) -> list[str]:
    """Ids of the tasks that every contender has completed and that were judged, in their order."""
    names = [contender.name for contender in run.header.contenders]
    return [
        task_id
        for task_id in run.header.task_ids
        if all((task_id, name) in run.samples and (task_id, name) in run.scores for name in names)
    ]


def summarize(run: Run, name: str) -> Summary:
    """Figures of one contender.

    Raises:
        ValueError: if there is no task that all contenders have finished.
    """
    task_ids = common_tasks(run)
    if not task_ids:
        raise ValueError(f"The run of {run.header.set} holds no task that is finished.")
    samples = [run.samples[task_id, name] for task_id in task_ids]
    scores = [run.scores[task_id, name] for task_id in task_ids]
    passed = [score.passed for score in scores if score.passed is not None]
    total_ms = [sample.total_ms for sample in samples]
    decode_ms = [_decode_ms(sample) for sample in samples]
    tokens = sum(sample.tokens for sample in samples)
    accepted = [count for sample in samples for count in sample.accepted]
    return Summary(
        set=run.header.set,
        contender=next(c for c in run.header.contenders if c.name == name),
        n=len(task_ids),
        pass_rate=_mean(passed),
        pass_interval=proportion_interval(sum(passed), len(passed)) if passed else None,
        exact_match=_mean([score.exact for score in scores]),
        edit_similarity=_mean([score.similarity for score in scores]),
        parses=_mean([score.parses for score in scores]),
        ended_by_itself=sum(s.stop in ("end_of_hole", "line") for s in samples) / len(samples),
        tokens=tokens,
        forwards=statistics.mean(sample.forwards for sample in samples),
        tokens_per_forward=_ratio(tokens, sum(sample.forwards for sample in samples)),
        accepted_per_block=_mean(accepted),
        prefill_p50_ms=statistics.median(sample.prefill_ms for sample in samples),
        decode_p50_ms=statistics.median(decode_ms),
        p50_ms=statistics.median(total_ms),
        p95_ms=percentile(total_ms, 0.95),
        tokens_per_second=_ratio(1000 * tokens, sum(total_ms)),
        decode_tokens_per_second=_ratio(1000 * tokens, sum(decode_ms)),
        memory_mib=max(sample.memory_mib for sample in samples),
        commits=run.header.commits,
    )


def compare(first: tuple[Run, str], second: tuple[Run, str]) -> Comparison:
    """Two contenders, of one run or of two, on the tasks that both runs have finished.

    Args:
        first: run and name of a contender in it.
        second: likewise.

    Raises:
        ValueError: if they have no task in common.
    """
    task_ids = sorted(set(common_tasks(first[0])) & set(common_tasks(second[0])))
    if not task_ids:
        raise ValueError(f"{first[1]} and {second[1]} have no finished task in common.")
    ones = [first[0].samples[task_id, first[1]] for task_id in task_ids]
    others = [second[0].samples[task_id, second[1]] for task_id in task_ids]
    pairs = list(zip(ones, others, strict=True))
    ratios = [b.total_ms / a.total_ms for a, b in pairs if a.total_ms and b.total_ms]
    decode = [_decode_ms(b) / _decode_ms(a) for a, b in pairs if a.forwards and b.forwards]
    return Comparison(
        first=first[1],
        second=second[1],
        passed=_paired(first, second, task_ids, "passed"),
        exact=_paired(first, second, task_ids, "exact"),
        same_text=sum(a.completion == b.completion for a, b in pairs) / len(pairs),
        time_ratio=statistics.median(ratios) if ratios else math.nan,
        time_ratio_interval=_median_interval(ratios),
        decode_ratio=statistics.median(decode) if decode else None,
    )


def _paired(
    first: tuple[Run, str], second: tuple[Run, str], task_ids: Sequence[str], key: str
) -> Paired | None:
    verdicts: list[Mapping[str, bool]] = []
    for run, name in (first, second):
        values = {task_id: getattr(run.scores[task_id, name], key) for task_id in task_ids}
        if None in values.values():
            return None
        verdicts.append(values)
    return mcnemar(*verdicts)


def _median_interval(values: Sequence[float]) -> tuple[float, float]:
    if not values:
        return math.nan, math.nan
    source = random.Random(0)
    medians = sorted(
        statistics.median(source.choices(values, k=len(values))) for _ in range(_NUM_RESAMPLES)
    )
    return percentile(medians, 0.025), percentile(medians, 0.975)


def _decode_ms(sample: Sample) -> float:
    return max(sample.total_ms - sample.prefill_ms, 1e-3)


def _mean(values: Sequence[float | bool | None]) -> float | None:
    told = [float(value) for value in values if value is not None]
    return statistics.mean(told) if told else None


def _ratio(value: float, by: float) -> float | None:
    return value / by if by else None
