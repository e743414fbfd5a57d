"""The commands `seed-train data …`: arguments in, a data set and a table out.

Progress and tables go to stderr; the last line on stdout is one JSON object.
"""

import json as json_format
from collections import defaultdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import App, Parameter, validators
from rich.console import Console
from rich.table import Table

from model import hub
from training.progress import progress_bar

if TYPE_CHECKING:
    from training.data.pipeline import Summary

PositiveInt = Annotated[int, Parameter(validator=validators.Number(gte=1))]


def register(app: App) -> None:
    """Add the sub-app `data` with its commands."""
    data = App(name="data", help="Makes the data that the stages train on.")
    data.command(build_command, name="build")
    data.command(own_command, name="own")
    app.command(data)


def build_command(
    *,
    out: Path,
    packages: Path | None = None,
    limit: PositiveInt | None = None,
    decontaminate: Path | None = None,
    edits: Annotated[bool, Parameter(negative="")] = False,
    manifest: Path | None = None,
    model: str = hub.DEFAULT_MODEL,
    seed: int = 0,
    max_tokens: PositiveInt | None = None,
    workers: PositiveInt = 1,
    json: Annotated[bool, Parameter(negative="")] = False,
) -> int:
    """Make token records of popular packages and of the standard library.

    Packages are downloaded with pip, never installed, and nothing of them is run. A build that was
    stopped goes on where it was when the same is asked again.

    Args:
        out: folder of the data set; its work/ may be deleted at the end.
        packages: file with names, one a line; by default the project's own list.
        limit: only so many of its first names, beside the standard library.
        decontaminate: folder of benchmarks; files that share 30 tokens with one are left out.
        edits: make records of edits, too; for a quarter of the packages an older release is
            downloaded, whose changes are edits.
        manifest: releases to take, from the manifest.jsonl of another build; by default the
            project's own, if it has one. Packages that it does not name are taken at their newest.
        model: whose tokenizer to use: known name, hub id, .gguf file or folder.
        seed: which holes.
        max_tokens: of a record, 1,024 by default. Recipe fim takes those of at most 512; of longer
            ones only small files are.
        workers: processes.
        json: print the JSON line only.
    """
    from training.data.manifest import ManifestError
    from training.data.packages import OUR_LIST, OUR_MANIFEST, read_list
    from training.data.pipeline import build  # datatrove takes a second
    from training.data.records import MAX_TOKENS
    from training.data.standard_library import NAME
    from training.data.work import Plan

    if manifest is not None and not manifest.is_file():
        raise ManifestError(f"There is no manifest {manifest}.")
    console = Console(stderr=True, quiet=json)
    plan = Plan(
        out=out.absolute(),
        names=(NAME, *read_list(packages or OUR_LIST)[:limit]),
        model=hub.resolve(model).absolute(),
        manifest=manifest or OUR_MANIFEST,
        decontaminate=decontaminate,
        seed=seed,
        max_tokens=max_tokens or MAX_TOKENS,
        edits=edits,
    )
    with progress_bar(console) as progress:
        summary = build(plan, workers=workers, progress=progress)
    _show(summary, console)
    facts = {**summary.facts, "dropped": dict(summary.dropped), "refused": dict(summary.refused)}
    print(json_format.dumps(facts))  # noqa: T201
    return 0


def own_command(
    *,
    data: Path,
    out: Path,
    limit: PositiveInt = 300,
    model: str = hub.DEFAULT_MODEL,
    adapter: str = "auto",
    max_tokens: PositiveInt = 512,
    threads: PositiveInt | None = None,
    seed: int = 0,
    json: Annotated[bool, Parameter(negative="")] = False,
) -> int:
    """Let the model fill holes of a data set anew, to train drafts on what it writes itself.

    Args:
        data: folder of shards, from `seed-train data build`.
        out: folder of the new ones.
        limit: how many holes.
        model: known name, hub id, .gguf file or folder.
        adapter: auto for the one that comes with the model, none, or a file.
        max_tokens: of a record with such a hole.
        threads: CPU threads.
        seed: which holes.
        json: print the JSON line only.
    """
    from model.format.vocabulary import read_vocabulary
    from model.shipped import choose_adapter
    from training.data.own import MIN_TARGET, write_own
    from training.data.records import RecordMaker, fingerprint
    from training.data.shards import Pack, ShardError, Shards, write_shards
    from training.evaluation.engines import EngineSpec, OwnEngine

    path = hub.resolve(model)
    shards = Shards(data).holes(max_tokens, min_target=MIN_TARGET)
    if not len(shards):
        raise ShardError(f"{data} has no hole of {MIN_TARGET} tokens and more.")
    vocabulary = read_vocabulary(path)
    tokenizer = fingerprint(vocabulary)
    if shards.facts.get("tokenizer") not in (None, tokenizer):
        raise ShardError(f"{data} was made with another tokenizer than that of {path.name}.")
    chosen = choose_adapter(adapter, model)
    writer = OwnEngine(EngineSpec("ours", path, adapter=chosen, threads=threads))
    with progress_bar(Console(stderr=True, quiet=json)) as progress:
        maker = RecordMaker(vocabulary)
        made = list(write_own(shards, writer, maker, limit=limit, seed=seed, progress=progress))
    if not made:
        raise ShardError("The model filled none of these holes with enough text.")
    told = {"tokenizer": tokenizer, "seed": seed, "written_by": chosen.name if chosen else "base"}
    print(json_format.dumps(write_shards(out, [Pack.of(made)], told)))  # noqa: T201
    return 0


def _show(summary: "Summary", console: Console) -> None:
    table = Table("dropped by", "because", "files", "share")
    by_stage = sorted(summary.dropped.items(), key=lambda item: (item[0].split(":")[0], -item[1]))
    for reason, count in by_stage:
        stage, _, why = reason.partition(": ")
        table.add_row(stage, why, f"{count:,}", f"{count / max(summary.num_files, 1):.1%}")
    facts = summary.facts
    kept = facts["num_files"]
    table.add_section()
    table.add_row("kept", "", f"{kept:,}", f"{kept / max(summary.num_files, 1):.1%}")
    console.print(table)
    refused = defaultdict(list)
    for name, why in summary.refused.items():
        refused[why].append(name)
    for why, names in sorted(refused.items()):
        console.print(f"refused, {why}: {', '.join(names)}", highlight=False)
    for what, count in sorted(summary.replaced.items()):
        console.print(f"replaced: {count:,} × {what}", highlight=False)
    console.print(
        f"{facts['num_records']:,} records, {facts['num_tokens']:,} tokens, of which "
        f"{facts['num_target_tokens']:,} are targets, from {facts['num_packages']:,} packages",
        highlight=False,
    )
    if "edits" in facts:
        told = facts["edits"]
        kinds = ", ".join(f"{count:,} {kind}" for kind, count in told["kinds"].items())
        console.print(
            f"{told['num_records']:,} edits, {told['num_tokens']:,} tokens, of which "
            f"{told['num_target_tokens']:,} are targets: {kinds}",
            highlight=False,
        )
