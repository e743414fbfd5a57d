"""One page out of stored runs: tables, plots, comparisons, and how to measure it all again.

Knows neither engines nor sets.
"""

import itertools
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from training.evaluation.kept import without_paths
from training.evaluation.markdown import NONE, both, grid, listed, number, share, table
from training.evaluation.plots import plot_accepted, plot_quality
from training.evaluation.published import QUALITY, SPEED
from training.evaluation.records import Contender, Run, RunError, read_run
from training.evaluation.scores import Paired
from training.evaluation.summary import (
    Comparison,
    Ratio,
    Summary,
    common_tasks,
    compare,
    summarize,
)


@dataclass(frozen=True)
class _Told:
    """A run with its figures."""

    run: Run
    title: str
    """The set, and what tells it from other runs of the set."""
    summaries: Mapping[str, Summary]
    """By contender."""

    @property
    def names(self) -> list[str]:
        return list(self.summaries)


def write_report(folders: Sequence[Path], out: Path) -> Path:
    """Write `out/README.md` and its plots; returns the page.

    Args:
        folders: stored runs, whole or kept, finished or not. One that is stored twice counts once.
        out: folder of the page; files in it are replaced.

    Raises:
        RunError: if a folder holds no run, or none holds a finished task.
        MissingExtraError: without the extra `train`.
    """
    runs = _read(folders)
    titles = _titles(runs)
    told = [
        _Told(run, title, {name: summarize(run, name) for name in _names(run)})
        for run, title in zip(runs, titles, strict=True)
        if common_tasks(run)
    ]
    missing = [
        f"- {title}: {_progress(run)}"
        for run, title in zip(runs, titles, strict=True)
        if not common_tasks(run)
    ]
    if not told:
        raise RunError("No run has finished a task that can be reported. " + " ".join(missing)[2:])
    out.mkdir(parents=True, exist_ok=True)
    plot_quality(_points(told), "tokens_per_forward", out / "quality-tokens-per-forward.svg")
    plot_quality(_points(told), "p50_ms", out / "quality-milliseconds.svg")
    accepted = _accepted(told)
    histogram = out / "accepted.svg"
    histogram.unlink(missing_ok=True)
    if accepted:
        plot_accepted(accepted, histogram)
    sections = [
        "# Evaluation",
        "Written by `seed-train report`. Contenders of one run took turns at every task, and "
        "nothing was kept from one completion to the next. Only tasks that all contenders of a run "
        "have finished count. Intervals are 95 %. Tokens per forward count the forwards behind "
        "prefill, which gives the first token: one token a forward comes out a little above 1.",
        *(part for each in told for part in _run_section(each)),
        *(["## Not reported", "\n".join(missing)] if missing else []),
        *_across(told),
        "## Quality and cost",
        "Up is better. Bars are intervals of pass@1.",
        "![Quality against tokens per forward](quality-tokens-per-forward.svg)",
        "![Quality against milliseconds](quality-milliseconds.svg)",
        "## Accepted drafts",
        "![Accepted drafts of a block](accepted.svg)" if accepted else "No contender drafts.",
        *_published_section(told),
        *_reproduction(told),
    ]
    page = out / "README.md"
    page.write_text("\n\n".join(sections) + "\n", encoding="utf-8")
    return page


def _read(folders: Sequence[Path]) -> list[Run]:
    """By set and time; of a run that is stored twice, the one that got further."""
    runs: dict[tuple[str, ...], Run] = {}
    for folder in folders:
        run = read_run(folder)
        run = Run(without_paths(run.header), run.samples, run.scores)
        header = run.header
        key = (header.set, header.started, header.data_sha256, header.command, *_names(run))
        if key not in runs or len(run.scores) > len(runs[key].scores):
            runs[key] = run
    return [runs[key] for key in sorted(runs)]


def _names(run: Run) -> list[str]:
    return [contender.name for contender in run.header.contenders]


def _titles(runs: Sequence[Run]) -> list[str]:
    """The set of each, with size and layout if they are special, and the time if those agree."""
    titles = []
    for run in runs:
        layouts = {contender.layout for contender in run.header.contenders} - {"spm"}
        size = f"{len(run.header.task_ids):,} tasks" if run.header.limit is not None else ""
        titles.append(
            " · ".join(filter(None, [run.header.set, size, " and ".join(sorted(layouts))]))
        )
    counts = Counter(titles)
    return [
        f"{title} · {_time(run)}" if counts[title] > 1 else title
        for run, title in zip(runs, titles, strict=True)
    ]


def _progress(run: Run) -> str:
    keys = [(task_id, name) for task_id in run.header.task_ids for name in _names(run)]
    completed = sum(key in run.samples for key in keys)
    judged = sum(key in run.scores for key in keys)
    return f"{completed:,} of {len(keys):,} completions measured, {judged:,} judged."


def _labels(told: Sequence[_Told]) -> Iterator[tuple[_Told, str, str]]:
    """Each run, each contender in it, and how a plot of all runs of its set names it."""
    counts = Counter(each.run.header.set for each in told)
    for each in told:
        name = each.run.header.set
        suffix = each.title[len(name) :].replace(" · ", ", ") if counts[name] > 1 else ""
        for contender in each.names:
            yield each, contender, f"{contender}{suffix}"


def _points(told: Sequence[_Told]) -> Mapping[str, Mapping[str, Summary]]:
    by_set: dict[str, dict[str, Summary]] = defaultdict(dict)
    for each, name, label in _labels(told):
        by_set[each.run.header.set][label] = each.summaries[name]
    return by_set


def _accepted(told: Sequence[_Told]) -> Mapping[str, Mapping[str, list[int]]]:
    by_set: dict[str, dict[str, list[int]]] = defaultdict(dict)
    for each, name, label in _labels(told):
        samples = (each.run.samples[task_id, name] for task_id in common_tasks(each.run))
        accepted = [count for sample in samples for count in sample.accepted]
        if accepted:
            by_set[each.run.header.set][label] = accepted
    return by_set


def _run_section(told: _Told) -> Iterator[str]:
    yield f"## {told.title}"
    done, total = len(common_tasks(told.run)), len(told.run.header.task_ids)
    if done < total:
        yield f"**Not finished: {done:,} of {total:,} tasks.** {_progress(told.run)}"
    summaries = told.summaries.values()
    yield table(
        [f"`{own.contender.name}`" for own in summaries],
        {
            "n": [f"{own.n:,}" for own in summaries],
            "errors": [str(own.errors or NONE) for own in summaries],
            "pass@1": [share(own.pass_rate, own.pass_interval) for own in summaries],
            "exact match": [share(own.exact_match) for own in summaries],
            "edit similarity": [share(own.edit_similarity) for own in summaries],
            "parses": [share(own.parses) for own in summaries],
            "ended by itself": [share(own.ended_by_itself) for own in summaries],
        },
    )
    yield table(
        [f"`{own.contender.name}`" for own in summaries],
        {
            "tokens / forward": [number(own.tokens_per_forward, 2) for own in summaries],
            "accepted / block": [number(own.accepted_per_block, 2) for own in summaries],
            "forwards / task": [number(own.forwards, 1) for own in summaries],
            "ms p50 / p95": [both(own.p50_ms, own.p95_ms) for own in summaries],
            "prefill / decode ms p50": [
                both(own.prefill_p50_ms, own.decode_p50_ms) for own in summaries
            ],
            "tokens/s": [number(own.tokens_per_second, 1) for own in summaries],
            "decode tokens/s": [number(own.decode_tokens_per_second, 1) for own in summaries],
            "GiB": [number(own.memory_mib / 1024, 2) for own in summaries],
        },
    )
    lines = [
        f"- {_compared(compare((told.run, first), (told.run, second)))}"
        for first, second in itertools.combinations(told.names, 2)
    ]
    if lines:
        yield "\n".join(lines)


def _compared(comparison: Comparison, since: str = "") -> str:
    """A comparison in words; `since` says from which run the first is, if not from this one."""
    words = []
    if comparison.time_ratio is not None:
        words.append(f"takes {_times(comparison.time_ratio)} as long")
    if comparison.decode_ratio is not None:
        words.append(f"{_times(comparison.decode_ratio)} behind prefill")
    if comparison.tokens_per_second_ratio is not None:
        words.append(f"gives {comparison.tokens_per_second_ratio:.2f} times the tokens/s")
    if comparison.passed is not None:
        words.append(f"pass@1 {_difference(comparison.passed)}")
    elif comparison.exact is not None:
        words.append(f"exact match {_difference(comparison.exact)}")
    words.append(f"same text in {share(comparison.same_text)} of {comparison.n:,} tasks")
    return f"`{comparison.second}` against `{comparison.first}`{since}: {'; '.join(words)}."


def _times(ratio: Ratio) -> str:
    if ratio.interval is None:
        return f"{ratio.median:.2f} times"
    low, high = ratio.interval
    return f"{ratio.median:.2f} times ({low:.2f} to {high:.2f})"


def _difference(paired: Paired) -> str:
    low, high = paired.interval
    return (
        f"{paired.difference:+.1f} points ({low:+.1f} to {high:+.1f}; only it "
        f"{paired.only_second}, only the other {paired.only_first}; "
        f"McNemar p = {paired.p_value:.2g})"
    )


def _across(told: Sequence[_Told]) -> Iterator[str]:
    """Runs of the same tasks beside the first of them: what has changed since."""
    by_data: dict[str, list[_Told]] = defaultdict(list)
    for each in told:
        by_data[each.run.header.data_sha256].append(each)
    lines = []
    for same in by_data.values():
        base, *others = sorted(same, key=lambda each: each.run.header.started)
        for other in others:
            if not set(common_tasks(base.run)) & set(common_tasks(other.run)):
                continue
            since = f" in {_run_name(base)}"
            lines += [
                f"- {_run_name(other)}: "
                + _compared(compare((base.run, base.names[0]), (other.run, name)), since)
                for name in other.names
            ]
    if lines:
        yield "## Between runs"
        yield (
            "Each against the first contender of the earliest run with the same tasks. Times of "
            "different runs were not taken in turns."
        )
        yield "\n".join(lines)


def _run_name(told: _Told) -> str:
    return f"*{told.title}* ({', '.join(told.run.header.commits) or 'commit unknown'})"


def _published_section(told: Sequence[_Told]) -> Iterator[str]:
    yield "## Beside published figures"
    yield (
        "What others report was measured by them, with their prompts, on their machines: it says "
        "where we stand, not who is faster. Pass@1 only."
    )
    sets = list(dict.fromkeys(each.run.header.set for each in told))
    rows = []
    for name in sets:
        rows += [
            [
                each.title,
                f"`{own.contender.name}`, {own.contender.model}",
                share(own.pass_rate, own.pass_interval),
                "here",
            ]
            for each in told
            for own in each.summaries.values()
            if each.run.header.set == name and own.pass_rate is not None
        ]
        rows += [
            [name, entry.model, f"{entry.pass_rate:.1f} %", entry.source]
            for entry in QUALITY
            if entry.set == name
        ]
    if rows:
        yield grid(["set", "model", "pass@1", "source"], rows)
    rows = [
        [
            f"`{own.contender.name}`, {each.title}",
            number(own.decode_tokens_per_second, 1),
            _against_ar(each, own),
            str(each.run.header.machine.get("cpu", "not told")),
            "here, prefill left out",
        ]
        for each in told
        for own in each.summaries.values()
    ]
    rows += [
        [
            entry.model,
            entry.tokens_per_second or NONE,
            entry.against_ar or NONE,
            entry.machine,
            entry.source,
        ]
        for entry in SPEED
    ]
    yield grid(["model", "tokens/s", "times an AR model", "machine", "source"], rows)


def _against_ar(told: _Told, own: Summary) -> str:
    """Against the fastest of the run that decodes one by one."""
    rivals = [
        other.decode_tokens_per_second or 0.0
        for other in told.summaries.values()
        if other.contender.mode == "ar"
    ]
    if own.contender.mode == "ar" or not any(rivals) or own.decode_tokens_per_second is None:
        return NONE
    return f"{own.decode_tokens_per_second / max(rivals):.2f}"


def _reproduction(told: Sequence[_Told]) -> Iterator[str]:
    yield "## How to measure it again"
    for each in told:
        header = each.run.header
        lines = [
            f"- `{header.command}`" if header.command else "- command unknown",
            f"- commit {_commits(each.run)}; seed {header.seed}",
            f"- data {header.data_sha256[:16]}, {header.source}",
            f"- machine: {listed(header.machine)}",
        ]
        settings: dict[str, list[str]] = defaultdict(list)
        for contender in header.contenders:
            settings[_settings(contender)].append(f"`{contender.name}`")
        lines += [f"- {', '.join(names)}: {told}" for told, names in settings.items()]
        yield "\n".join([f"**{each.title}**, started {_time(each.run)} UTC", "", *lines])


def _settings(contender: Contender) -> str:
    adapter = contender.adapter_sha256
    return (
        f"{contender.model}, sha256 {contender.model_sha256[:16]}, "
        f"adapter {adapter[:16] if adapter else 'none'}, layout {contender.layout}, "
        f"{listed(contender.settings) or 'settings unknown'}"
    )


def _commits(run: Run) -> str:
    commits = run.header.commits or ("unknown",)
    marks = []
    if len(commits) > 1:
        marks.append("continued with other code: more than one commit")
    if any(commit.endswith("-dirty") for commit in commits):
        marks.append("with local changes")
    return ", ".join(commits) + (f" **({'; '.join(marks)})**" if marks else "")


def _time(run: Run) -> str:
    return run.header.started[:16].replace("T", " ")
