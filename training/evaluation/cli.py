"""The commands `seed-train evaluate` and `seed-train report`: arguments in, figures out.

Progress and tables go to stderr; the last line on stdout is one JSON object.
"""

import json as json_format
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

from cyclopts import App, Parameter, validators
from rich.console import Console
from rich.table import Table

from model import hub
from model.shipped import choose_adapter
from sampler.messages import Mode
from training.evaluation.engines import EngineName, EngineSpec
from training.evaluation.evaluate import Entry, evaluate, run_folder
from training.evaluation.holes import punch_holes
from training.evaluation.kept import slim
from training.evaluation.perplexity import measure_perplexity
from training.evaluation.records import Run, RunError
from training.evaluation.report import write_report
from training.evaluation.sandbox import describe
from training.evaluation.sets import SETS, SetAbsentError, load_set, sample
from training.evaluation.summary import compare, summarize
from training.evaluation.tasks import TaskSet
from training.progress import progress_bar

PositiveInt = Annotated[int, Parameter(validator=validators.Number(gte=1))]
_COLUMNS = ("pass@1", "exact_match", "tokens_per_forward", "p50_ms", "p95_ms", "tokens_per_second")


def register(app: App) -> None:
    """Add both commands."""
    app.command(evaluate_command, name="evaluate")
    app.command(report_command, name="report")


def evaluate_command(
    sets: Annotated[list[str], Parameter(name="--set", negative="", consume_multiple=True)],
    *,
    data: Path = Path(),
    mode: Annotated[list[Mode] | None, Parameter(negative="")] = None,
    engine: Annotated[list[EngineName] | None, Parameter(negative="")] = None,
    layout: Annotated[list[str] | None, Parameter(negative="")] = None,
    limit: PositiveInt | None = None,
    seed: int = 0,
    model: str = hub.DEFAULT_MODEL,
    adapter: str = "auto",
    rival_model: Path | None = None,
    device: str = "auto",
    dtype: str = "auto",
    kernels: str = "auto",
    threads: PositiveInt | None = None,
    block_size: PositiveInt | None = None,
    lookup: bool = True,
    must_change: bool = True,
    workers: PositiveInt | None = None,
    out: Path = Path("runs"),
    json: Annotated[bool, Parameter(negative="")] = False,
) -> int:
    """Measure quality and speed, of several engines and modes side by side if several are named.

    A run that was stopped goes on where it was when the same is asked again.

    Args:
        sets: single-line, open-line (the same tasks as blocks, so that the model itself ends them),
            multi-line, random-span, humaneval, mbpp, humanevalfix, editeval, or all of these;
            holes:FOLDER punches holes into code of your own; perplexity:FOLDER.
        data: folder with the benchmarks' files.
        mode: how drafts are accepted: ar, exact (the default), balanced, fast or diffusion; may be
            repeated.
        engine: ours (the default) or llama.cpp, which has mode ar only; may be repeated.
        layout: order of the prompt, spm (the default) or psm; may be repeated.
        limit: number of tasks, drawn with the seed.
        seed: what they are drawn with.
        model: known name, hub id, .gguf file or folder.
        adapter: auto for the one that comes with the model, none, or a file.
        rival_model: another GGUF file for llama.cpp, e.g. the same weights quantized otherwise.
        device: auto, cpu or cuda.
        dtype: auto, bfloat16, float16 or float32.
        kernels: auto, native or torch.
        threads: CPU threads of an engine.
        block_size: tokens denoised together; by default what the adapter was trained for.
        lookup: whether drafts may be copied from the context, or all come from the adapter.
        must_change: whether ours refuses to give back the code that it was to edit, as it does for
            editors; without, its answer is the greedy one.
        workers: test programs side by side.
        out: folder of the stored runs.
        json: print the JSON line only.
    """
    console = Console(stderr=True, quiet=json)
    path = hub.resolve(model)
    adapter_path = choose_adapter(adapter, model)
    specs = [
        EngineSpec(
            name,
            rival_model if rival_model and name == "llama.cpp" else path,
            adapter=adapter_path if name == "ours" else None,
            device=device,
            dtype=dtype,
            kernels=kernels,
            threads=threads,
            block_size=block_size,
            has_lookup=lookup,
            must_change=must_change,
        )
        for name in dict.fromkeys(engine or ("ours",))
    ]
    entries = [
        Entry(spec, mode_, layout_)
        for layout_ in dict.fromkeys(layout or ("spm",))
        for spec in specs
        for mode_ in _modes(spec, mode or ["exact"])
    ]
    lines: list[dict[str, Any]] = []
    for name in SETS if sets == ["all"] else sets:
        kind, _, folder = name.partition(":")
        if kind == "perplexity":
            with progress_bar(console) as progress:
                totals = measure_perplexity(
                    Path(folder) if folder else data,
                    path,
                    adapter=adapter_path,
                    device=device,
                    dtype=dtype,
                    threads=threads,
                    limit=limit,
                    progress=progress,
                )
            lines.append({**totals.record(), "model": path.name, "engine": "ours"})
            continue
        try:
            if kind == "holes":
                task_set = punch_holes(Path(folder) if folder else data, seed=seed, limit=limit)
            else:
                task_set = load_set(name, data)
                tasks = sample(task_set.tasks, limit, seed)
                task_set = TaskSet(name, tuple(tasks), task_set.source, task_set.sha256)
        except SetAbsentError as error:
            console.print(f"skipped: {error}", style="yellow", highlight=False)
            lines.append({"set": name, "n": 0, "skipped": str(error)})
            continue
        store = run_folder(out, task_set, entries, seed)
        console.print(f"{name}: {len(task_set.tasks)} tasks, stored in {store}", highlight=False)
        if any(task.program for task in task_set.tasks):
            console.print(describe(), style="dim", highlight=False)
        with progress_bar(console) as progress:
            run = evaluate(
                task_set,
                entries,
                store,
                seed=seed,
                limit=limit,
                workers=workers,
                progress=progress,
            )
        lines.append({**_figures(run, console), "run": str(store)})
    for line in lines:
        print(json_format.dumps(line), flush=True)  # noqa: T201
    return 0 if any("skipped" not in line for line in lines) else 1


def report_command(
    runs: Annotated[list[Path] | None, Parameter(negative="", consume_multiple=True)] = None,
    *,
    out: Path = Path("report"),
    keep: Annotated[Path | None, Parameter(negative="")] = None,
) -> int:
    """Turn stored runs into one page with tables and plots.

    Args:
        runs: folders of runs, or folders that hold several; by default all in `runs`.
        out: folder of the page, README.md, and its plots.
        keep: also store the runs here without any text of benchmarks or completions.
    """
    folders = sorted(
        header.parent for folder in runs or [Path("runs")] for header in folder.rglob("run.json")
    )
    if not folders:
        raise RunError("There are no stored runs: name their folder, or run `seed-train evaluate`.")
    if keep is not None:
        folders = [slim(folder, keep / folder.name) for folder in folders]
    print(write_report(folders, out))  # noqa: T201
    return 0


def _modes(spec: EngineSpec, asked: Sequence[Mode]) -> Sequence[Mode]:
    """llama.cpp drafts nothing, whatever ours is asked to do."""
    return ["ar"] if spec.engine == "llama.cpp" else list(dict.fromkeys(asked))


def _figures(run: Run, console: Console) -> dict[str, Any]:
    """The first contender's figures, with those of the others and the comparisons inside."""
    names = [contender.name for contender in run.header.contenders]
    records = [summarize(run, name).record() for name in names]
    table = Table()
    table.add_column("", no_wrap=True)
    columns = [*_COLUMNS, "regenerated"] if records[0]["regenerated"] is not None else _COLUMNS
    for column in ("n", *columns):
        table.add_column(column.replace("_", " "), justify="right")
    for record in records:
        values = (_number(record[column]) for column in columns)
        table.add_row(record["name"], str(record["n"]), *values)
    console.print(table)
    first, *others = records
    if others:
        first["rivals"] = others
        first["compared"] = [compare((run, names[0]), (run, name)).record() for name in names[1:]]
    return first


def _number(value: object) -> str:
    if not isinstance(value, float):
        return "–" if value is None else str(value)
    return f"{value:.0f}" if value >= 100 else f"{value:.3g}"
