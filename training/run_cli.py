"""The command `seed-train train`: a recipe, data and a base in, an adapter out.

Knows no losses; it puts the loop, the shards and the weights together.
"""

from collections import deque
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated

from cyclopts import App, Parameter, validators
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from model import hub
from model.format.vocabulary import read_vocabulary
from model.weights import load_model
from sampler.load import choose_device
from training.data.shards import Shards
from training.held_out import held_out_figures
from training.recipes import RECIPES, RecipeError
from training.source import ShardSource
from training.train import Run, train

PositiveInt = Annotated[int, Parameter(validator=validators.Number(gte=1))]
NonNegativeInt = Annotated[int, Parameter(validator=validators.Number(gte=0))]
NUM_EVALUATED = 12
"""Held-out records that figures are taken of along a run."""
HELD_OUT_SHARE = 0.01
"""Files that no run trains on."""


def register(app: App) -> None:
    """Add the command."""
    app.command(train_command, name="train")


def train_command(
    recipe: str,
    *,
    data: Path,
    out: Path,
    model: str = hub.DEFAULT_MODEL,
    base_update: Path | None = None,
    device: str = "auto",
    dtype: str = "auto",
    threads: PositiveInt | None = None,
    steps: PositiveInt | None = None,
    checkpoint_seconds: PositiveInt = 300,
    evaluate_every: NonNegativeInt = 50,
) -> None:
    """Train, or go on with a run that was stopped: same recipe, same data, same folder.

    Args:
        recipe: fim, adapt or debug.
        data: folder of shards, from `seed-train data build`.
        out: folder of the run: checkpoints, log.jsonl, adapter.safetensors.
        model: known name, hub id, .gguf file or folder.
        base_update: update of the base from recipe fim, merged before training.
        device: auto, cpu or cuda.
        dtype: of the frozen base; the adapter is trained in float32.
        threads: CPU threads.
        steps: stop after so many steps; the run can be continued.
        checkpoint_seconds: time between checkpoints.
        evaluate_every: steps between figures of held-out files in evaluations.jsonl; 0: none.
    """
    if recipe not in RECIPES:
        raise RecipeError(f"Unknown recipe {recipe!r}; known are {', '.join(RECIPES)}.")
    chosen = RECIPES[recipe]()
    path = hub.resolve(model)
    torch_device, torch_dtype = choose_device(device, dtype, threads)
    shards, held_out = Shards(data).split(HELD_OUT_SHARE)
    if chosen.stage == "fim":  # a hole without what follows it teaches nothing about its end
        shards, held_out = shards.holes(chosen.max_tokens), held_out.holes(chosen.max_tokens)
    base = load_model(path, dtype=torch_dtype, device=torch_device, merge=base_update)
    special_ids = read_vocabulary(path).special_ids
    source = ShardSource(shards, special_ids, chosen.seed, chosen.vocabulary_size)
    evaluate = None
    if evaluate_every and len(held_out):
        unseen = ShardSource(held_out, special_ids, chosen.seed)
        records = [unseen.draw(index) for index in range(NUM_EVALUATED)]
        evaluate = held_out_figures(chosen, records)
    columns = (
        TextColumn(chosen.name),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[told]}"),
        TimeRemainingColumn(),
    )
    recent: deque[Mapping[str, float]] = deque(maxlen=20)
    with Progress(*columns, console=Console(stderr=True)) as bar:
        shown = bar.add_task("", total=chosen.num_steps, told="")

        def tell(step: int, figures: Mapping[str, float]) -> None:
            recent.append(figures)
            sums = {key: sum(each[key] for each in recent) for key in ("loss", "rows", "seconds")}
            share = sum(each["correct"] for each in recent) / max(sums["rows"], 1)
            told = (
                f"loss {sums['loss'] / len(recent):.3f}, right {share:.1%}, "
                f"{sums['rows'] / sums['seconds']:.0f} tokens/s"
            )
            bar.update(shown, completed=step, told=told)

        run = Run(
            out,
            checkpoint_seconds=checkpoint_seconds,
            stop_after=steps,
            evaluate=evaluate,
            evaluate_every=max(evaluate_every, 1),
        )
        adapter = train(base, chosen, source, run, tell)
    print(adapter)  # noqa: T201
