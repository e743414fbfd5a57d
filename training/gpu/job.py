"""The job on a lent GPU: `python -m training.gpu`, called as often as there is time.

One call unpacks the cargo, measures the machine, plans how many steps fit the budget, and trains
stage after stage until its minutes are over. Every two minutes, and at the end, what is trained so
far lies in the folder that comes back, in parts. Needs nothing but PyTorch and what the stages
import; knows neither how files travel nor who starts it.
"""

import argparse
import json
import math
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from model.adapter import load_adapter, merge_update, save_adapter
from model.format.vocabulary import read_vocabulary
from model.network import Transformer
from model.noise import seeded_generator
from model.weights import load_model
from training.data.shards import Shards
from training.distributed import ALONE
from training.gpu.cargo import ADAPTERS, MODEL, START, UPDATE, unpack_cargo, whole_config
from training.gpu.parts import MIB, split
from training.held_out import held_out_figures
from training.low_rank import LowRankTrained
from training.rates import matmul_rate, record_operations, wait
from training.recipes import RECIPES, Recipe
from training.source import ShardSource, runs_of_lines
from training.stages import STAGES
from training.train import Run, train

SHARES: Mapping[str, float] = {"fim": 0.12, "adapt": 0.70, "edit": 0.18}
"""Of the budget, in the order in which the stages build on each other."""
RECORDS_PER_STEP = {"cuda": 32, "cpu": 2}
PACKINGS = {"cuda": (2, 4, 8), "cpu": (1, 2)}
"""Records of a forward that are tried out before a stage begins."""
PART_BYTES = 15 * MIB
CHECKPOINT_S = 120.0
RESERVE_S = 25.0
"""Kept of a call's time for the last checkpoint and the parts."""
NUM_EVALUATED = 8
Line = dict[str, Any]
HELD_OUT_SHARE = 0.01


@dataclass(frozen=True)
class Plan:
    """What was measured before a stage began; another call goes on with the same."""

    num_steps: int
    records_per_forward: int
    seconds_per_record: float


@dataclass(frozen=True)
class Job:
    """A call: where things are and how long it may take."""

    cargo: Path
    work: Path
    out: Path
    device: torch.device
    deadline: float
    budget_s: float

    @property
    def seconds_left(self) -> float:
        """Of this call, but for the reserve."""
        return self.deadline - time.monotonic()


def run_job(job: Job) -> list[Line]:
    """Train what there is time for; returns one line of figures for each stage that was at work."""
    dtype = torch.bfloat16 if job.device.type == "cuda" else torch.float32
    rate = matmul_rate(job.device, dtype)
    say(f"matrix products: {rate / 1e12:.2f} TFLOP/s")
    update, start = job.cargo / UPDATE, job.cargo / START
    known = [name for name in SHARES if name in RECIPES and name in STAGES]
    shares = {name: SHARES[name] for name in known if name != "fim" or not update.exists()}
    model = load_model(
        job.cargo / MODEL,
        dtype=dtype,
        device=job.device,
        merge=update if update.exists() else None,
    )
    say(f"weights are loaded: {model.config.vocab_size} tokens, {model.config.num_layers} layers")
    lines: list[Line] = []
    _report(job, lines)
    path = start if start.exists() else None
    for name, share in shares.items():
        if job.seconds_left <= 0:
            break
        recipe = RECIPES[name]()
        stage_start = path if recipe.kind == "gated" else None
        budget_s = job.budget_s * share / sum(shares.values())
        line, path_written = train_stage(job, model, recipe, stage_start, budget_s, rate)
        lines.append(line)
        say(json.dumps(line))
        _report(job, lines)
        if not line["is_done"]:
            break
        if recipe.kind == "merge":
            model.adapter = None
            merge_update(
                load_adapter(path_written, model.config, "merge").to(job.device), model.blocks
            )
        else:
            path = path_written
    return lines


def train_stage(
    job: Job, model: Transformer, recipe: Recipe, start: Path | None, budget_s: float, rate: float
) -> tuple[Line, Path]:
    """One stage, from where the last call left it; returns its figures and its adapter."""
    shards, held_out = Shards(job.cargo / "data").split(HELD_OUT_SHARE)
    runs: tuple[Shards, ...] = ()
    if recipe.stage == "fim":
        runs = runs_of_lines(recipe, shards)
        shards, held_out = shards.holes(recipe.max_tokens), held_out.holes(recipe.max_tokens)
    special_ids = read_vocabulary(job.cargo / MODEL).special_ids
    source = ShardSource(shards, special_ids, recipe.seed, recipe.vocabulary_size, runs=runs)
    folder = job.work / recipe.name
    plan = _plan(job, model, recipe, source, folder / "plan.json", budget_s)
    records_per_step = RECORDS_PER_STEP[job.device.type]
    recipe = replace(
        recipe,
        num_steps=plan.num_steps,
        records_per_step=records_per_step,
        warmup_steps=max(min(recipe.warmup_steps, plan.num_steps // 10), 1),
    )
    seconds_per_step = plan.seconds_per_record * records_per_step
    evaluate = None
    if len(held_out):
        unseen = ShardSource(held_out, special_ids, recipe.seed)
        evaluate = held_out_figures(recipe, [unseen.draw(i) for i in range(NUM_EVALUATED)])
    steps: list[Mapping[str, float]] = []
    say(f"{recipe.name}: {plan.num_steps} steps, {plan.records_per_forward} records a forward")
    path = train(
        model,
        recipe,
        source,
        Run(
            folder,
            checkpoint_seconds=CHECKPOINT_S,
            stop_after_seconds=job.seconds_left,
            records_per_forward=plan.records_per_forward,
            start=start,
            evaluate=evaluate,
            evaluate_every=max(int(CHECKPOINT_S / seconds_per_step), 1),
            saved=lambda written, _: _publish(job, written, model, recipe),
        ),
        lambda step, figures: steps.append({"step": step, **figures}),
    )
    _publish(job, path, model, recipe)
    return _figures(job, model, recipe, shards, steps, folder, rate), path


def _figures(
    job: Job,
    model: Transformer,
    recipe: Recipe,
    shards: Shards,
    steps: Sequence[Mapping[str, float]],
    folder: Path,
    rate: float,
) -> Line:
    """How far a stage is, how fast this call went, and the last held-out figures."""
    done = json.loads((folder / "log.jsonl").read_text().splitlines()[-1])["step"] + 1
    line: Line = {"stage": recipe.name, "steps": done, "of": recipe.num_steps}
    line["is_done"] = done >= recipe.num_steps
    evaluations = folder / "evaluations.jsonl"
    if evaluations.exists():
        line |= {"evaluated": json.loads(evaluations.read_text().splitlines()[-1])}
    if not steps:  # an earlier call was at the end already
        return line
    seconds = sum(step["seconds"] for step in steps)
    records_per_second = len(steps) * recipe.records_per_step / seconds
    lengths = [int(length) for length in shards.lengths]
    num_tokens = sum(min(length, recipe.max_tokens) for length in lengths) / len(lengths)
    operations = record_operations(model.config, recipe, lengths) * records_per_second
    recent = steps[-20:]
    return line | {
        "seconds": seconds,
        "text_tokens_per_second": records_per_second * num_tokens,
        "loss_rows_per_second": sum(step["rows"] for step in steps) / seconds,
        "tflops": operations / 1e12,
        "share_of_matmul_rate": operations / rate,
        "loss": sum(step["loss"] for step in recent) / len(recent),
    }


def _plan(
    job: Job, model: Transformer, recipe: Recipe, source: ShardSource, path: Path, budget_s: float
) -> Plan:
    """The plan of an earlier call, or one from the fastest packing of a few trial forwards."""
    if path.exists():
        return Plan(**json.loads(path.read_text()))
    LowRankTrained(model, recipe, ALONE, None)  # an adapter to be timed, and forgotten
    timed = [
        (_seconds_per_record(job.device, model, recipe, source, count), count)
        for count in PACKINGS[job.device.type]
    ]
    seconds, count = min(timed)
    num_steps = int(budget_s / (seconds * RECORDS_PER_STEP[job.device.type]))
    plan = Plan(max(num_steps, 2), count, seconds)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(vars(plan)))
    return plan


def _seconds_per_record(
    device: torch.device, model: Transformer, recipe: Recipe, source: ShardSource, count: int
) -> float:
    """Of a forward and backward over `count` records, the best of three; inf if it does not fit."""
    seconds = []
    try:
        for trial in range(4):
            records = [source.draw(trial * count + i) for i in range(count)]
            wait(device)
            started = time.perf_counter()
            generator = seeded_generator(recipe.seed, trial)
            result = STAGES[recipe.stage](model, records, recipe, 0, generator)
            if result.loss.requires_grad:
                torch.autograd.backward(result.loss)
            wait(device)
            seconds.append((time.perf_counter() - started) / count)
    except torch.cuda.OutOfMemoryError:
        return math.inf
    return min(seconds[1:])


def _publish(job: Job, path: Path, model: Transformer, recipe: Recipe) -> None:
    """Put an adapter in bf16, in parts, where it comes back; a later stage's replaces it."""
    name = ADAPTERS[recipe.kind == "gated"]
    with tempfile.TemporaryDirectory() as scratch:
        whole = Path(scratch) / f"{name}.safetensors"
        adapter = load_adapter(path, model.config, recipe.kind).to(torch.bfloat16)
        save_adapter(adapter, whole_config(job.cargo, model.config), whole, recipe.kind)
        split(whole, lambda number: job.out, PART_BYTES)


def _report(job: Job, lines: Sequence[Line]) -> None:
    (job.out / "report.json").write_text(json.dumps(lines, indent=1))


def say(text: str) -> None:
    """A line for whoever watches; the end of the output is all that comes back of it."""
    print(f"[{time.strftime('%H:%M:%S')}] {text}", flush=True)  # noqa: T201


def main(arguments: Sequence[str] | None = None) -> None:
    """Run one call."""
    parser = argparse.ArgumentParser(prog="python -m training.gpu", description=__doc__)
    parser.add_argument("--parts", type=Path, required=True, help="folder with the cargo's parts")
    parser.add_argument(
        "--work", type=Path, required=True, help="folder that later calls find again"
    )
    parser.add_argument("--out", type=Path, required=True, help="folder that comes back")
    parser.add_argument("--minutes", type=float, default=9.0, help="of this call")
    parser.add_argument(
        "--budget-minutes", type=float, default=20.0, help="of training in all calls together"
    )
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda")
    parser.add_argument("--smoke", action="store_true", help="everything once, in about a minute")
    told = parser.parse_args(arguments)
    began = time.monotonic()
    minutes, budget = (1.0, 0.5) if told.smoke else (told.minutes, told.budget_minutes)
    told.out.mkdir(parents=True, exist_ok=True)
    try:
        cargo = unpack_cargo(told.parts, told.work)
        say("the cargo is unpacked")
        reserve_s = min(RESERVE_S, minutes * 60 / 4)
        deadline = began + minutes * 60 - reserve_s
        device = torch.device(told.device)
        run_job(Job(cargo, told.work, told.out, device, deadline, budget * 60))
    except ValueError as error:
        sys.exit(f"{error}")
    say(f"{time.monotonic() - began:.0f} s")
