"""The loop: records in, trained weights out; stopped at any moment, it goes on the same.

All chance is drawn from (seed, step, record), never from a state, so a run is its recipe, its data
and the number of steps done, whatever the number of processes. Knows neither what a stage's loss is
(`stages`), nor what is trained (`low_rank`, `full`), nor how data came to be.
"""

import json
import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor

from model.network import Transformer
from model.noise import seeded_generator
from training.checkpoint import last_checkpoint, read_values
from training.distributed import ALONE, World
from training.early import EarlyTrained
from training.full import FullTrained
from training.low_rank import LowRankTrained
from training.optim import DivergedError, Schedule, SpikeGuard, clip_gradients
from training.rates import record_operations
from training.recipes import Recipe, RecipeError, recipe_from_data
from training.stages import STAGES, StageLoss, TrainingRecord
from training.stages.full import full_adapt

Progress = Callable[[int, Mapping[str, float]], None]
"""Told after each step: steps done, and the figures of the last one."""


class RecordSource(Protocol):
    """Where records come from, by the number of the place in an endless shuffled order."""

    def draw(self, index: int) -> TrainingRecord:
        """The record at a place of the order; the same place always gives the same record."""
        ...


class Trained(Protocol):
    """What a run changes, and how its state is kept."""

    parameters: list[Tensor]
    gradient_scale: float
    """What a loss is multiplied with so that gradients sum up over the processes."""
    needs_all: bool
    """Whether a forward takes all processes."""

    def begin_forward(self, is_last: bool) -> None:
        """Told before each forward and backward; the last one of a step ends it."""

    def sum_gradients(self) -> None:
        """Make the gradients those of all processes."""

    def save(
        self,
        folder: Path,
        step: int,
        optimizer: torch.optim.Optimizer,
        values: Mapping[str, Any],
    ) -> None:
        """Write a checkpoint; called in all processes."""

    def restore(self, folder: Path, optimizer: torch.optim.Optimizer) -> int:
        """Put the last checkpoint's state in place; returns the steps done, 0 without one."""
        ...

    def export(self, folder: Path) -> Path:
        """Write what the sampler loads, as it is now; returns where."""
        ...


@dataclass(frozen=True)
class Run:
    """Where a run writes, how often, and what it takes to do so; nothing of what it computes."""

    folder: Path
    checkpoint_seconds: float = 300.0
    stop_after: int | None = None
    """Stop, with a checkpoint, after so many steps of this start."""
    stop_after_seconds: float = math.inf
    """Likewise after so much time (short visits of a GPU)."""
    records_per_forward: int = 1
    """Records packed into one forward; more of them keep a GPU busy. Within a forward rows count
    alike, over forwards records do, and chance is drawn for each forward."""
    start: Path | None = None
    """Adapter of another run to begin with."""
    base: Path | None = None
    """Where the base is; weights that are trained in full get its vocabulary."""
    dtype: torch.dtype = torch.float32
    """That a network computes in whose weights are all trained."""
    evaluate: Callable[[Transformer], Mapping[str, float]] | None = None
    """Held-out figures of the model as it is; they go into `evaluations.jsonl`."""
    evaluate_every: int = 200
    """Steps between two of them; also before the first step and after the last."""
    matmul_rate: float | None = None
    """Operations a second of this process's matrix units (`training.rates`), for the share that a
    step makes of them."""
    saved: Callable[[Path, int], None] | None = None
    """Told, in the first process, after each checkpoint: the exported weights and steps done."""


def train(
    model: Transformer,
    recipe: Recipe,
    source: RecordSource,
    run: Run,
    progress: Progress,
    world: World = ALONE,
) -> Path:
    """Train from the last checkpoint in the run's folder, or from the beginning.

    Args:
        model: the frozen base, which gets the adapter that is trained; or, in float32, the network
            all of whose weights are.
        recipe: what to do; must be that of the checkpoint, if there is one.
        source: the records.
        run: the folder; `log.jsonl` and the trained weights appear in it.
        progress: told after each step, in the first process.
        world: the processes that train together, all of which call this.

    Returns:
        The adapter's file, or the folder of the trained network.

    Raises:
        RecipeError: if the folder holds a run of another recipe.
        CheckpointError: if the last checkpoint is damaged.
        DivergedError: if the loss is no number or jumps; what the step saw is saved beside.
    """
    run.folder.mkdir(parents=True, exist_ok=True)
    guard = SpikeGuard()
    _check_recipe(run.folder, recipe, guard)
    torch.manual_seed(recipe.seed)
    trained: Trained
    if recipe.is_full:
        trained = FullTrained(model, recipe, world, run.dtype, run.base)
    elif recipe.stage == "early":
        end = recipe.num_steps * recipe.records_per_step  # training does not come to what is there
        fitted = (source.draw(end + i).ids_S for i in range(recipe.num_fitted))
        trained = EarlyTrained(model, recipe, world, run.start, fitted)
    else:
        trained = LowRankTrained(model, recipe, world, run.start)
    optimizer = torch.optim.AdamW(
        trained.parameters, lr=recipe.peak_lr, betas=(0.9, 0.95), weight_decay=recipe.weight_decay
    )
    schedule = Schedule(
        recipe.peak_lr, recipe.num_steps, recipe.warmup_steps, recipe.final_lr_share
    )
    first = trained.restore(run.folder, optimizer)
    if not world.agrees(first):
        raise RecipeError(
            f"Processes see other checkpoints; {run.folder} must be on a shared disk."
        )
    stage = full_adapt if recipe.is_full and recipe.stage == "adapt" else STAGES[recipe.stage]
    started_at = saved_at = time.monotonic()
    last = recipe.num_steps if run.stop_after is None else first + run.stop_after
    log, evaluations = run.folder / "log.jsonl", run.folder / "evaluations.jsonl"
    if world.is_first:
        _drop_lines(log, first)
        _drop_lines(evaluations, first + 1)
    if first == 0:
        _evaluate(run, model, trained, evaluations, 0, world)
    step = first
    while step < min(last, recipe.num_steps):
        started = time.perf_counter()
        lr = schedule.lr(step)
        for group in optimizer.param_groups:
            group["lr"] = lr
        places = [step * recipe.records_per_step + i for i in range(recipe.records_per_step)]
        figures = _accumulate(model, stage, source, places, recipe, step, run, trained, world)
        norm = clip_gradients(trained.parameters, recipe.max_gradient_norm)
        try:
            guard.check(step, figures["loss"])
            if not math.isfinite(norm):
                raise DivergedError(f"The gradient of step {step} is {norm}.")
        except DivergedError:
            if world.is_first:
                records = [source.draw(place) for place in places]
                _save_batch(run.folder, step, places, records, figures)
            raise
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        seconds = time.perf_counter() - started
        figures |= {"lr": lr, "norm": norm, "seconds": seconds}
        if run.matmul_rate is not None:
            possible = seconds * run.matmul_rate * world.size
            figures["matmul_share"] = figures["operations"] / possible
        step += 1
        if world.is_first:
            _append(log, {"step": step - 1, **figures})
            progress(step, figures)
        is_end = step == recipe.num_steps
        if step % run.evaluate_every == 0 or is_end:
            _evaluate(run, model, trained, evaluations, step, world)
        now = time.monotonic()  # clocks differ, so one of them decides
        is_over, is_due = world.same(
            (now - started_at > run.stop_after_seconds, now - saved_at > run.checkpoint_seconds)
        )
        if is_over or is_due or is_end or step == last:
            values = {"recipe": recipe.as_data(), "losses": guard.losses}
            trained.save(run.folder, step, optimizer, values)
            if run.saved is not None:
                path = trained.export(run.folder)
                if world.is_first:
                    run.saved(path, step)
            saved_at = time.monotonic()
        if is_over:
            break
    return trained.export(run.folder)


def _check_recipe(folder: Path, recipe: Recipe, guard: SpikeGuard) -> None:
    """Refuse a folder of another recipe, and restore the guard, before tensors are read."""
    path = last_checkpoint(folder)
    if path is None:
        return
    values = read_values(path)
    if recipe_from_data(values["recipe"]) != recipe:
        raise RecipeError(
            f"{folder} holds a run of another recipe; choose another folder, or remove this one."
        )
    guard.restore(values["losses"])


def _accumulate(
    model: Transformer,
    stage: Callable[..., StageLoss],
    source: RecordSource,
    places: Sequence[int],
    recipe: Recipe,
    step: int,
    run: Run,
    trained: Trained,
    world: World,
) -> dict[str, float]:
    """Gradients of one step, forward by forward; returns the step's figures.

    A forward's loss is a mean over its rows; dividing by the rows of all records would need to know
    them first, so each record counts alike.
    """
    size = run.records_per_forward
    forwards = world.own(range(0, len(places), size))
    num_forwards = len(forwards)
    if trained.needs_all:  # who has fewer forwards joins the others with one that counts nothing
        num_forwards = math.ceil(math.ceil(len(places) / size) / world.size)
    sums: dict[str, float] = {}
    for number in range(num_forwards):
        is_padding = number >= len(forwards)
        index = 0 if is_padding else forwards[number]
        records = [source.draw(place) for place in places[index : index + size]]
        trained.begin_forward(is_last=number + 1 == num_forwards)
        generator = seeded_generator(recipe.seed, step, index)
        result = stage(model, records, recipe, step, generator)
        share = 0.0 if is_padding else len(records) / len(places)
        if result.loss.requires_grad:
            torch.autograd.backward(result.loss * (share * trained.gradient_scale))
        if is_padding:
            continue
        figures = {"loss": float(result.loss.detach()) * share, **result.figures}
        if run.matmul_rate is not None:
            lengths = [len(record.ids_S) for record in records]
            mean = record_operations(model.config, recipe, lengths)
            figures["operations"] = mean * len(records)
        for name, value in figures.items():
            sums[name] = sums.get(name, 0.0) + value
    trained.sum_gradients()
    return world.sum_figures(sums)


def _drop_lines(path: Path, first: int) -> None:
    """Lines of steps that are done again are dropped."""
    if path.exists():
        lines = [line for line in path.read_text().splitlines() if line.endswith("}")]
        kept = [line for line in lines if json.loads(line)["step"] < first]
        path.write_text("".join(f"{line}\n" for line in kept))


def _append(path: Path, line: Mapping[str, float]) -> None:
    with path.open("a") as file:
        file.write(json.dumps(line) + "\n")


def _evaluate(
    run: Run, model: Transformer, trained: Trained, log: Path, num_done: int, world: World
) -> None:
    """Held-out figures, taken by the first process, or by all where one alone cannot."""
    if run.evaluate is None or not (world.is_first or trained.needs_all):
        return
    started = time.perf_counter()
    figures = run.evaluate(model)
    if world.is_first:
        seconds = time.perf_counter() - started
        _append(log, {"step": num_done, **figures, "seconds": seconds})


def _save_batch(
    folder: Path,
    step: int,
    places: Sequence[int],
    records: Sequence[TrainingRecord],
    figures: Mapping[str, float],
) -> None:
    batch = {
        "step": step,
        "places": list(places),
        "figures": dict(figures),
        "tokens": [record.ids_S.tolist() for record in records],
    }
    (folder / f"diverged-{step}.json").write_text(json.dumps(batch))
