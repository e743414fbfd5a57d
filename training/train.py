"""The loop: records in, a trained low-rank update out; stopped at any moment, it goes on the same.

All chance is drawn from (seed, step), never from a state, so a run is its recipe, its data and the
number of steps done. Knows neither what a stage's loss is (`stages`) nor how data came to be.
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

from model.adapter import Adapter, AdapterConfig, save_adapter
from model.network import Transformer
from model.noise import seeded_generator
from training.checkpoint import Checkpoint, load_checkpoint, save_checkpoint
from training.optim import DivergedError, Schedule, SpikeGuard, clip_gradients
from training.recipes import Recipe, RecipeError, recipe_from_data
from training.stages import STAGES, StageLoss, TrainingRecord

Progress = Callable[[int, Mapping[str, float]], None]
"""Told after each step: steps done, and the figures of the last one."""


class RecordSource(Protocol):
    """Where records come from, by the number of the place in an endless shuffled order."""

    def draw(self, index: int) -> TrainingRecord:
        """The record at a place of the order; the same place always gives the same record."""
        ...


@dataclass(frozen=True)
class Run:
    """Where a run writes, and how often."""

    folder: Path
    checkpoint_seconds: float = 300.0
    stop_after: int | None = None
    """Stop, with a checkpoint, after so many steps of this start (tests, short visits of a GPU)."""
    evaluate: Callable[[Transformer], Mapping[str, float]] | None = None
    """Held-out figures of the model as it is; they go into `evaluations.jsonl`."""
    evaluate_every: int = 200
    """Steps between two of them; also before the first step and after the last."""


def train(
    model: Transformer, recipe: Recipe, source: RecordSource, run: Run, progress: Progress
) -> Path:
    """Train from the last checkpoint in the run's folder, or from the beginning.

    Args:
        model: the frozen base; gets the adapter that is trained.
        recipe: what to do; must be that of the checkpoint, if there is one.
        source: the records.
        run: the folder; `log.jsonl` and `adapter.safetensors` appear in it.
        progress: told after each step.

    Returns:
        The adapter's file.

    Raises:
        RecipeError: if the folder holds a run of another recipe.
        CheckpointError: if the last checkpoint is damaged.
        DivergedError: if the loss is no number or jumps; what the step saw is saved beside.
    """
    run.folder.mkdir(parents=True, exist_ok=True)
    model.requires_grad_(False)
    torch.manual_seed(recipe.seed)
    block_size = max(recipe.block_sizes, default=None)
    adapter = Adapter(model.config, AdapterConfig(recipe.rank, recipe.alpha, block_size))
    adapter.start_mask_at(model.embedding.weight)
    adapter.to(model.embedding.weight.device)
    model.adapter = adapter
    names, parameters = _trained(adapter, recipe)
    optimizer = torch.optim.AdamW(
        parameters, lr=recipe.peak_lr, betas=(0.9, 0.95), weight_decay=recipe.weight_decay
    )
    schedule = Schedule(
        recipe.peak_lr, recipe.num_steps, recipe.warmup_steps, recipe.final_lr_share
    )
    guard = SpikeGuard()
    first = _restore(run.folder, recipe, names, parameters, optimizer, guard)
    stage = STAGES[recipe.stage]
    saved_at = time.monotonic()
    last = recipe.num_steps if run.stop_after is None else first + run.stop_after
    log = _open_log(run.folder / "log.jsonl", first)
    evaluations = _open_log(run.folder / "evaluations.jsonl", first + 1)
    if first == 0:
        _evaluate(run, model, evaluations, 0)
    for step in range(first, min(last, recipe.num_steps)):
        started = time.perf_counter()
        lr = schedule.lr(step)
        for group in optimizer.param_groups:
            group["lr"] = lr
        places = [step * recipe.records_per_step + i for i in range(recipe.records_per_step)]
        records = [source.draw(place) for place in places]
        figures = _accumulate(model, stage, records, recipe, step)
        norm = clip_gradients(parameters, recipe.max_gradient_norm)
        try:
            guard.check(step, figures["loss"])
            if not math.isfinite(norm):
                raise DivergedError(f"The gradient of step {step} is {norm}.")
        except DivergedError:
            _save_batch(run.folder, step, places, records, figures)
            raise
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        figures |= {"lr": lr, "norm": norm, "seconds": time.perf_counter() - started}
        with log.open("a") as file:
            file.write(json.dumps({"step": step, **figures}) + "\n")
        progress(step + 1, figures)
        if (step + 1) % run.evaluate_every == 0 or step + 1 == recipe.num_steps:
            _evaluate(run, model, evaluations, step + 1)
        is_due = time.monotonic() - saved_at > run.checkpoint_seconds
        if is_due or step + 1 in (last, recipe.num_steps):
            _save(run.folder, step + 1, recipe, names, parameters, optimizer, guard)
            saved_at = time.monotonic()
    path = run.folder / "adapter.safetensors"
    save_adapter(adapter, model.config, path, recipe.kind)
    return path


def _trained(adapter: Adapter, recipe: Recipe) -> tuple[list[str], list[Tensor]]:
    """What the stage trains; the embedding of MASK is nothing to a stage without masks."""
    named = [
        (name, parameter)
        for name, parameter in adapter.named_parameters()
        if recipe.kind == "gated" or name != "mask_embedding"
    ]
    return [name for name, _ in named], [parameter for _, parameter in named]


def _accumulate(
    model: Transformer,
    stage: Callable[..., StageLoss],
    records: Sequence[TrainingRecord],
    recipe: Recipe,
    step: int,
) -> dict[str, float]:
    """Gradients of one step, record by record; returns the step's figures.

    Each record's loss is a sum over its rows; dividing by the rows of all records would need to
    know them first, so each record counts alike.
    """
    sums: dict[str, float] = {}
    for index, record in enumerate(records):
        generator = seeded_generator(recipe.seed, step, index)
        result = stage(model, [record], recipe, step, generator)
        if result.loss.requires_grad:
            torch.autograd.backward(result.loss / len(records))
        figures = {"loss": float(result.loss.detach()) / len(records), **result.figures}
        for name, value in figures.items():
            sums[name] = sums.get(name, 0.0) + value
    return sums


def _restore(
    folder: Path,
    recipe: Recipe,
    names: Sequence[str],
    parameters: Sequence[Tensor],
    optimizer: torch.optim.Optimizer,
    guard: SpikeGuard,
) -> int:
    """Put a checkpoint's state in place; returns the steps done, 0 without one."""
    checkpoint = load_checkpoint(folder)
    if checkpoint is None:
        return 0
    if recipe_from_data(checkpoint.values["recipe"]) != recipe:
        raise RecipeError(
            f"{folder} holds a run of another recipe; choose another folder, or remove this one."
        )
    guard.restore(checkpoint.values["losses"])
    for name, parameter in zip(names, parameters, strict=True):
        tensors = checkpoint.tensors
        parameter.data.copy_(tensors[f"adapter.{name}"])
        optimizer.state[parameter] = {
            "step": torch.tensor(float(checkpoint.step)),
            "exp_avg": tensors[f"average.{name}"].to(parameter.device),
            "exp_avg_sq": tensors[f"square.{name}"].to(parameter.device),
        }
    return checkpoint.step


def _save(
    folder: Path,
    step: int,
    recipe: Recipe,
    names: Sequence[str],
    parameters: Sequence[Tensor],
    optimizer: torch.optim.Optimizer,
    guard: SpikeGuard,
) -> None:
    tensors = {}
    for name, parameter in zip(names, parameters, strict=True):
        state: Mapping[str, Any] = optimizer.state[parameter]
        tensors[f"adapter.{name}"] = parameter
        tensors[f"average.{name}"] = state["exp_avg"]
        tensors[f"square.{name}"] = state["exp_avg_sq"]
    values = {"recipe": recipe.as_data(), "losses": guard.losses}
    save_checkpoint(folder, Checkpoint(step, tensors, values))


def _open_log(path: Path, first: int) -> Path:
    """Lines of steps that are done again are dropped."""
    if path.exists():
        lines = [line for line in path.read_text().splitlines() if line.endswith("}")]
        kept = [line for line in lines if json.loads(line)["step"] < first]
        path.write_text("".join(f"{line}\n" for line in kept))
    return path


def _evaluate(run: Run, model: Transformer, log: Path, num_done: int) -> None:
    if run.evaluate is None:
        return
    started = time.perf_counter()
    figures = run.evaluate(model)
    with log.open("a") as file:
        seconds = time.perf_counter() - started
        file.write(json.dumps({"step": num_done, **figures, "seconds": seconds}) + "\n")


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
