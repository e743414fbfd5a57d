"""One page out of stored runs: tables, plots, comparisons, and how to measure it all again.

Knows neither engines nor sets.
"""

import hashlib
import shlex
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from training.evaluation.plots import plot_accepted, plot_quality
from training.evaluation.published import QUALITY, SPEED, Published
from training.evaluation.records import Lines, Run, RunError, read_run, write_header
from training.evaluation.summary import Comparison, Summary, common_tasks, compare, summarize

_HASHED = "sha256:"


def write_report(folders: Sequence[Path], out: Path) -> Path:
    """Write `out/README.md` and its plots; returns the page.

    Args:
        folders: stored runs, whole or slim, finished or not.
        out: folder of the page; files in it are replaced.

    Raises:
        RunError: if a folder holds no run, or none holds a finished task.
        MissingExtraError: without the extra `train`.
    """
    runs = [run for run in map(read_run, folders) if common_tasks(run)]
    if not runs:
        raise RunError("None of these runs has finished a task that can be reported.")
    runs.sort(key=lambda run: (run.header.set, run.header.started))
    out.mkdir(parents=True, exist_ok=True)
    summaries = [[summarize(run, name) for name in _names(run)] for run in runs]
    by_set = {_title(run): own for run, own in zip(runs, summaries, strict=True)}
    plot_quality(by_set, "tokens_per_forward", out / "quality-tokens-per-forward.svg")
    plot_quality(by_set, "p50_ms", out / "quality-milliseconds.svg")
    accepted = dict(_accepted(runs))
    if accepted:
        plot_accepted(accepted, out / "accepted.svg")
    page = out / "README.md"
    sections = [
        "# Evaluation",
        "Written by `seed-train report`. Engines that were measured in one run took turns at every "
        "task; nothing was cached between two completions. Intervals are 95 %.",
        *(
            part
            for run, own in zip(runs, summaries, strict=True)
            for part in _run_section(run, own)
        ),
        *_across(runs),
        "## Quality and cost",
        "![Quality against tokens per forward](quality-tokens-per-forward.svg)",
        "![Quality against milliseconds](quality-milliseconds.svg)",
        *_accepted_section(bool(accepted)),
        *_published_section(runs, summaries),
        *_reproduction(runs),
    ]
    page.write_text("\n\n".join(sections) + "\n", encoding="utf-8")
    return page


def slim(folder: Path, out: Path) -> Path:
    """Store a run again without any text of benchmarks or completions; returns `out`.

    A completion is replaced by its checksum: equal texts stay equal, so that all figures and all
    comparisons with later runs remain possible, and no benchmark gets into a repository. The data
    folder's path is left out, too.

    Raises:
        RunError: if the folder holds no run.
    """
    run = read_run(folder)
    header = run.header
    source = Path(header.source)
    header = replace(header, source=source.name, command=_without_folder(header.command))
    write_header(out, header)
    for name in ("samples.jsonl", "scores.jsonl"):
        (out / name).unlink(missing_ok=True)
    Lines(out / "samples.jsonl").extend(
        replace(sample, completion=_hashed(sample.completion)) for sample in run.samples.values()
    )
    Lines(out / "scores.jsonl").extend(run.scores.values())
    return out


def _without_folder(command: str) -> str:
    words = shlex.split(command)
    for index, word in enumerate(words[:-1]):
        if word == "--data":
            words[index + 1] = "DIR"
    return shlex.join(words)


def _hashed(text: str) -> str:
    if text.startswith(_HASHED):
        return text
    return _HASHED + hashlib.sha256(text.encode(errors="replace")).hexdigest()[:12]


def _names(run: Run) -> list[str]:
    return [contender.name for contender in run.header.contenders]


def _title(run: Run) -> str:
    """The set, and what tells runs of the same set apart."""
    layouts = {contender.layout for contender in run.header.contenders}
    is_sample = run.header.limit is not None
    parts = [run.header.set, f"{len(run.header.task_ids)} tasks" if is_sample else ""]
    return " · ".join(filter(None, [*parts, " and ".join(sorted(layouts - {"spm"}))]))


def _run_section(run: Run, summaries: Sequence[Summary]) -> Iterator[str]:
    yield f"## {_title(run)}"
    done, total = len(common_tasks(run)), len(run.header.task_ids)
    if done < total:
        yield f"**Not finished: {done} of {total} tasks.**"
    rows = [
        [
            f"`{s.contender.name}`",
            str(s.n),
            _share(s.pass_rate, s.pass_interval),
            _share(s.exact_match),
            _share(s.edit_similarity),
            _number(s.tokens_per_forward, 2),
            _number(s.accepted_per_block, 2),
            f"{s.p50_ms:.0f} / {s.p95_ms:.0f}",
            f"{s.prefill_p50_ms:.0f} / {s.decode_p50_ms:.0f}",
            _number(s.tokens_per_second, 1),
            _number(s.decode_tokens_per_second, 1),
            _share(s.ended_by_itself),
            f"{s.memory_mib / 1024:.2f}",
        ]
        for s in summaries
    ]
    yield _table(
        [
            *("", "n", "pass@1", "exact match", "edit similarity", "tokens / forward"),
            *("accepted / block", "ms p50 / p95", "prefill / decode ms p50", "tokens/s"),
            *("tokens/s, decode", "ended by itself", "GiB"),
        ],
        rows,
    )
    first, *others = _names(run)
    lines = [_told(compare((run, first), (run, other))) for other in others]
    if lines:
        yield "\n".join(lines)


def _told(comparison: Comparison) -> str:
    """A comparison in words."""
    first, second = f"`{comparison.first}`", f"`{comparison.second}`"
    low, high = comparison.time_ratio_interval
    words = [
        f"{second} takes {comparison.time_ratio:.2f} times as long as {first} "
        f"({low:.2f} to {high:.2f}, median of the tasks)"
    ]
    if comparison.decode_ratio is not None:
        words.append(f"behind prefill {comparison.decode_ratio:.2f} times")
    if comparison.passed is not None:
        paired = comparison.passed
        begin, end = paired.interval
        words.append(
            f"pass@1 {paired.difference:+.1f} points ({begin:+.1f} to {end:+.1f}; only {first} "
            f"passes {paired.only_first}, only {second} {paired.only_second}; "
            f"McNemar p = {paired.p_value:.2g})"
        )
    words.append(f"same text in {_share(comparison.same_text)}")
    return f"- {'; '.join(words)}."


def _across(runs: Sequence[Run]) -> Iterator[str]:
    """Runs of the same tasks beside the first of them: what has changed since."""
    by_data: dict[tuple[str, str], list[Run]] = defaultdict(list)
    for run in runs:
        by_data[run.header.set, run.header.data_sha256].append(run)
    lines = []
    for (name, _), same in by_data.items():
        base = (same[0], _names(same[0])[0])
        for run in same[1:]:
            if set(common_tasks(run)) & set(common_tasks(base[0])):
                told = (_told(compare(base, (run, other))) for other in _names(run))
                lines += [f"{line} ({name}, {_when(base[0])} and {_when(run)})" for line in told]
    if lines:
        yield "## Between runs"
        yield (
            "Each against the first contender of the earliest run with the same tasks. Times of "
            "different runs were not taken in turns."
        )
        yield "\n".join(lines)


def _accepted(runs: Sequence[Run]) -> Iterator[tuple[str, list[int]]]:
    for run in runs:
        for name in _names(run):
            accepted = [
                count
                for task_id in common_tasks(run)
                for count in run.samples[task_id, name].accepted
            ]
            if accepted:
                yield f"{name}, {_title(run)}", accepted


def _accepted_section(has_plot: bool) -> Iterator[str]:
    yield "## Accepted drafts"
    if has_plot:
        yield "![Accepted drafts of a block](accepted.svg)"
    else:
        yield "No contender drafted anything."


def _published_section(
    runs: Sequence[Run], summaries: Sequence[Sequence[Summary]]
) -> Iterator[str]:
    yield "## Beside published figures"
    yield (
        "What others report was measured by them, with their prompts, on their machines: it says "
        "where we stand, not who is faster."
    )
    sets = {run.header.set for run in runs}
    rows = [
        [
            _title(run),
            f"`{own.contender.name}`, {own.contender.model}",
            f"pass@1 {_share(own.pass_rate)}",
            "measured here",
        ]
        for run, all_own in zip(runs, summaries, strict=True)
        for own in all_own
        if own.pass_rate is not None
    ]
    rows += [_published_row(entry) for entry in QUALITY if entry.set in sets]
    rows += [_published_row(entry) for entry in SPEED]
    yield _table(["", "model", "figure", "source"], rows)


def _published_row(entry: Published) -> list[str]:
    return [entry.set, entry.model, entry.figure, entry.source]


def _reproduction(runs: Sequence[Run]) -> Iterator[str]:
    yield "## How to measure it again"
    for run in runs:
        header = run.header
        lines = [f"**{_title(run)}**, {header.started}", f"- `{header.command}`"]
        mark = ""
        if len(header.commits) > 1:
            mark = " (continued with other code: more than one commit)"
        elif header.commits[0].endswith("-dirty"):
            mark = " (with local changes)"
        lines.append(f"- commit {', '.join(header.commits)}{mark}; seed {header.seed}")
        lines.append(f"- data {header.data_sha256[:16]}, {Path(header.source).name}")
        lines.append(f"- machine: {_listed(header.machine)}")
        for contender in header.contenders:
            adapter = contender.adapter_sha256
            lines.append(
                f"- `{contender.name}`: {contender.model}, sha256 {contender.model_sha256[:16]}, "
                f"adapter {adapter[:16] if adapter else 'none'}, {_listed(contender.settings)}"
            )
        yield "\n".join([lines[0], "", *lines[1:]])


def _listed(record: Mapping[str, object]) -> str:
    return ", ".join(
        f"{key} ({_listed(value)})" if isinstance(value, Mapping) else f"{key} {_plain(value)}"
        for key, value in record.items()
    )


def _plain(value: object) -> str:
    if isinstance(value, Sequence) and not isinstance(value, str):
        return " ".join(map(str, value))
    return str(value)


def _when(run: Run) -> str:
    return f"{run.header.started[:10]} {run.header.commits[0]}"


def _share(value: float | None, interval: tuple[float, float] | None = None) -> str:
    if value is None:
        return "–"
    told = f"{100 * value:.1f} %"
    return told if interval is None else f"{told} ({100 * interval[0]:.1f}–{100 * interval[1]:.1f})"


def _number(value: float | None, digits: int) -> str:
    return "–" if value is None else f"{value:.{digits}f}"


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)
