"""Figures of a run: one contender's own, and two contenders beside each other.

Pure. Only tasks that every contender of a run has finished count, so that a run that was stopped
in the middle compares like with like. A completion that ended in an error counts as a failure, and
its time, of which there is none, is left out.
"""

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from training.evaluation.records import Contender, Run, RunError, Sample, Score
from training.evaluation.scores import (
    MissingExtraError,
    Paired,
    mcnemar,
    percentile,
    proportion_interval,
)


@dataclass(frozen=True)
class Summary:
    """One contender in one run. Shares are in [0, 1], times in milliseconds; None where nothing was
    told."""

    set: str
    contender: Contender
    n: int
    errors: int
    """Tasks among them to which there was no answer."""
    pass_rate: float | None
    pass_interval: tuple[float, float] | None
    """95 %, Wilson."""
    exact_match: float | None
    edit_similarity: float | None
    parses: float | None
    regenerated: float | None
    """Of edits: share of the unchanged tokens that were not copied from the old code but generated
    again."""
    ended_by_itself: float
    """Share of completions that the model or the syntax ended, neither a limit nor the rule that
    one line is enough."""
    tokens: int
    forwards: float
    """Mean per task, without prefill."""
    tokens_per_forward: float | None
    """Above 1 even for an engine that decodes one by one: prefill gives the first token."""
    accepted_per_block: float | None
    prefill_p50_ms: float | None
    decode_p50_ms: float | None
    """What comes after prefill."""
    p50_ms: float | None
    p95_ms: float | None
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
            "errors": self.errors,
            "pass@1": self.pass_rate,
            "pass@1_interval": self.pass_interval,
            "exact_match": self.exact_match,
            "edit_similarity": self.edit_similarity,
            "parses": self.parses,
            "regenerated": self.regenerated,
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
class Ratio:
    """Median over the tasks of the second's figure divided by the first's."""

    median: float
    interval: tuple[float, float] | None
    """95 %, from order statistics, so whatever the distribution; None for fewer than 6 tasks."""


@dataclass(frozen=True)
class Comparison:
    """Two contenders on the same tasks; times are those of the second over those of the first."""

    first: str
    second: str
    n: int
    passed: Paired | None
    exact: Paired | None
    same_text: float
    """Share of tasks where both wrote the same."""
    time_ratio: Ratio | None
    """Of total milliseconds, task by task; above 1 the first is faster."""
    decode_ratio: Ratio | None
    """The same of what comes after prefill, where both had something to decode."""
    p50_ratio: float | None
    """Of the median milliseconds of each."""
    tokens_per_second_ratio: float | None

    def record(self) -> dict[str, Any]:
        """As plain data."""
        return asdict(self)


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
        RunError: if there is no task that all contenders have finished.
        MissingExtraError: without the extra `train`.
    """
    task_ids = common_tasks(run)
    if not task_ids:
        raise RunError(f"The run of {run.header.set} holds no task that is finished.")
    contender = next(it for it in run.header.contenders if it.name == name)
    samples = [run.samples[task_id, name] for task_id in task_ids]
    scores = [run.scores[task_id, name] for task_id in task_ids]
    passed = [score.passed for score in scores if score.passed is not None]
    answered = [sample for sample in samples if _is_answered(sample)]
    total_ms = [sample.total_ms for sample in answered]
    decode_ms = [_decode_ms(sample) for sample in answered]
    tokens = sum(sample.tokens for sample in samples)
    accepted = [count for sample in samples for count in sample.accepted]
    return Summary(
        set=run.header.set,
        contender=contender,
        n=len(task_ids),
        errors=len(samples) - len(answered),
        pass_rate=_mean(passed),
        pass_interval=proportion_interval(sum(passed), len(passed)) if passed else None,
        exact_match=_mean([score.exact for score in scores]),
        edit_similarity=_mean([score.similarity for score in scores]),
        parses=_mean([score.parses for score in scores]),
        regenerated=_regenerated(contender, scores),
        ended_by_itself=sum(s.stop == "end_of_hole" for s in samples) / len(samples),
        tokens=tokens,
        forwards=statistics.mean(sample.forwards for sample in samples),
        tokens_per_forward=_ratio(tokens, sum(sample.forwards for sample in samples)),
        accepted_per_block=_mean(accepted),
        prefill_p50_ms=_percentile([sample.prefill_ms for sample in answered], 0.5),
        decode_p50_ms=_percentile(decode_ms, 0.5),
        p50_ms=_percentile(total_ms, 0.5),
        p95_ms=_percentile(total_ms, 0.95),
        tokens_per_second=_ratio(1000 * tokens, sum(total_ms)),
        decode_tokens_per_second=_ratio(1000 * tokens, sum(decode_ms)),
        memory_mib=max(sample.memory_mib for sample in samples),
        commits=run.header.commits,
    )


def _regenerated(contender: Contender, scores: Sequence[Score]) -> float | None:
    kept = sum(score.kept or 0 for score in scores)
    if contender.mode != "exact":  # the only one that copies
        return 1.0 if kept else None
    return _ratio(sum(score.unforeseen or 0 for score in scores), kept)


def compare(first: tuple[Run, str], second: tuple[Run, str]) -> Comparison:
    """Two contenders, of one run or of two, on the tasks that both runs have finished.

    Args:
        first: run and name of a contender in it.
        second: likewise.

    Raises:
        RunError: if they have no task in common.
        MissingExtraError: without the extra `train`.
    """
    task_ids = sorted(set(common_tasks(first[0])) & set(common_tasks(second[0])))
    if not task_ids:
        raise RunError(f"{first[1]} and {second[1]} have no finished task in common.")
    ones = [first[0].samples[task_id, first[1]] for task_id in task_ids]
    others = [second[0].samples[task_id, second[1]] for task_id in task_ids]
    pairs = list(zip(ones, others, strict=True))
    answered = [(a, b) for a, b in pairs if _is_answered(a) and _is_answered(b)]
    firsts, seconds = [a for a, _ in answered], [b for _, b in answered]
    return Comparison(
        first=first[1],
        second=second[1],
        n=len(pairs),
        passed=_paired(first, second, task_ids, "passed"),
        exact=_paired(first, second, task_ids, "exact"),
        same_text=sum(a.completion == b.completion for a, b in pairs) / len(pairs),
        time_ratio=_median_ratio([(a.total_ms, b.total_ms) for a, b in answered]),
        decode_ratio=_median_ratio(
            [(_decode_ms(a), _decode_ms(b)) for a, b in answered if a.forwards and b.forwards]
        ),
        p50_ratio=_ratio(
            _percentile([b.total_ms for b in seconds], 0.5),
            _percentile([a.total_ms for a in firsts], 0.5),
        ),
        tokens_per_second_ratio=_ratio(_tokens_per_ms(seconds), _tokens_per_ms(firsts)),
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


def _median_ratio(pairs: Sequence[tuple[float, float]]) -> Ratio | None:
    ratios = [second / first for first, second in pairs if first > 0 and second > 0]
    if not ratios:
        return None
    try:
        from scipy import stats  # late: it takes a second that most commands can save
    except ImportError as error:
        raise MissingExtraError(
            "Comparisons are computed with SciPy, which is not installed: install seed-lsp[train]."
        ) from error
    interval = stats.quantile_test(ratios, p=0.5).confidence_interval(0.95)
    low, high = float(interval.low), float(interval.high)
    is_told = math.isfinite(low) and math.isfinite(high)
    return Ratio(statistics.median(ratios), (low, high) if is_told else None)


def _is_answered(sample: Sample) -> bool:
    return not sample.stop.startswith("error")


def _decode_ms(sample: Sample) -> float:
    return max(sample.total_ms - sample.prefill_ms, 1e-3)


def _tokens_per_ms(samples: Sequence[Sample]) -> float | None:
    return _ratio(sum(s.tokens for s in samples), sum(s.total_ms for s in samples))


def _percentile(values: Sequence[float], share: float) -> float | None:
    return percentile(values, share) if values else None


def _mean(values: Sequence[float | bool | None]) -> float | None:
    told = [float(value) for value in values if value is not None]
    return statistics.mean(told) if told else None


def _ratio(value: float | None, by: float | None) -> float | None:
    return None if value is None or not by else value / by
