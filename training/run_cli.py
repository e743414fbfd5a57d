"""The command `seed-train train`: a recipe, data and a base in, an adapter or a network out.

Knows no losses; it puts the loop, the shards, the weights and the processes together.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import torch
from cyclopts import App, Parameter, validators
from rich.console import Console

from model import hub
from model.format.tokenizer import Tokenizer
from model.format.vocabulary import read_vocabulary
from model.network import Transformer
from model.weights import load_model
from sampler.load import choose_device
from training.data.records import fingerprint
from training.data.shards import EDITS, EditShards, ShardError, Shards
from training.distributed import join
from training.full import full_recipe
from training.gpu import cli as gpu_cli
from training.held_out import held_out_figures
from training.progress import training_bar
from training.rates import matmul_rate
from training.recipes import RECIPES, Recipe, RecipeError
from training.source import ShardSource, runs_of_lines, short_edits
from training.train import Run, train

PositiveInt = Annotated[int, Parameter(validator=validators.Number(gte=1))]
NonNegativeInt = Annotated[int, Parameter(validator=validators.Number(gte=0))]
Flag = Annotated[bool, Parameter(negative="")]
NUM_EVALUATED = 8
"""Held-out records that figures are taken of along a run."""
HELD_OUT_SHARE = 0.01
"""Files that no run trains on."""


def register(app: App) -> None:
    """Add the commands."""
    app.command(train_command, name="train")
    gpu_cli.register(app)


def train_command(
    recipe: str,
    *,
    data: Path,
    out: Path,
    model: str = hub.DEFAULT_MODEL,
    base_update: Path | None = None,
    start: Path | None = None,
    own: Path | None = None,
    full: Flag = False,
    device: str = "auto",
    dtype: str = "auto",
    threads: PositiveInt | None = None,
    compile: Flag = False,
    records_per_step: PositiveInt | None = None,
    records_per_forward: PositiveInt = 1,
    num_steps: PositiveInt | None = None,
    steps: PositiveInt | None = None,
    checkpoint_seconds: PositiveInt = 300,
    evaluate_every: NonNegativeInt = 50,
) -> None:
    """Train, or go on with a run that was stopped: same recipe, same data, same folder.

    Under torchrun (torchrun --nproc-per-node 8 -m training train …) all its processes train
    together.

    Args:
        recipe: a name from training/recipes.py, such as fim or adapt.
        data: folder of shards, from `seed-train data build`.
        out: folder of the run: checkpoints, log.jsonl, adapter.safetensors (and model/).
        model: known name, hub id, .gguf file or folder.
        base_update: update of the base from recipe fim, merged before training.
        start: adapter of another run to begin with.
        own: folder from `seed-train data own`; every other record is one of these (adapt, short).
        full: train all weights instead of an adapter; writes a network, too.
        device: auto, cpu or cuda.
        dtype: that the network computes in; what is trained is kept in float32.
        threads: CPU threads.
        compile: compile the network's layers first; pays on a GPU.
        records_per_step: instead of the recipe's, which are for two CPU cores.
        records_per_forward: records in one forward; more of them keep a GPU busy.
        num_steps: of the whole run, instead of the recipe's.
        steps: stop after so many steps; the run can be continued.
        checkpoint_seconds: time between checkpoints.
        evaluate_every: steps between figures of held-out files in evaluations.jsonl; 0: none.
    """
    if recipe not in RECIPES:
        raise RecipeError(f"Unknown recipe {recipe!r}; known are {', '.join(RECIPES)}.")
    chosen = RECIPES[recipe]()
    if full and not chosen.is_full:
        chosen = full_recipe(chosen)
    chosen = replace(
        chosen,
        records_per_step=records_per_step or chosen.records_per_step,
        num_steps=num_steps or chosen.num_steps,
    )
    if own is not None and chosen.stage != "adapt":
        raise RecipeError(f"Recipe {chosen.name} does not train on text of the model's own.")
    if chosen.is_full and start is not None:
        raise RecipeError("A run of all weights begins with the model, not with an adapter.")
    path = hub.resolve(model)
    torch_device, torch_dtype = choose_device(device, dtype, threads)
    with join(torch_device, has_group=chosen.is_full) as world:
        num_forwards = math.ceil(chosen.records_per_step / records_per_forward)
        if num_forwards < world.size:
            raise RecipeError(
                f"A step is {num_forwards} forwards, too few for {world.size} processes; raise "
                "--records-per-step."
            )
        shards, held_out = Shards(data).split(HELD_OUT_SHARE)
        edits, unseen_edits = _edits(chosen, data)
        runs: tuple[Shards, ...] = ()
        if chosen.stage == "fim":  # a hole without what follows it teaches nothing about its end
            runs = runs_of_lines(chosen, shards)
        if chosen.stage in ("fim", "early"):  # nor does one without a prompt about reading it
            shards, held_out = shards.holes(chosen.max_tokens), held_out.holes(chosen.max_tokens)
        if not len(shards):
            raise ShardError(f"{data} has no record that recipe {recipe} could train on.")
        base = load_model(
            path,
            dtype=torch.float32 if chosen.is_full else torch_dtype,
            device=torch_device,
            # It brings the update of the base that it was trained over.
            adapter=start if chosen.kind == "gated" else None,
            merge=base_update,
        )
        own_shards = Shards(own).split(HELD_OUT_SHARE)[0] if own is not None else None
        if own_shards is not None and not len(own_shards):
            raise ShardError(f"{own} has no record of a file that is not held out.")
        if compile:
            compile_layers(base)
        vocabulary = read_vocabulary(path)
        special_ids = vocabulary.special_ids
        for folder, facts in ((data, shards.facts), (own, own_shards.facts if own_shards else {})):
            if facts.get("tokenizer") not in (None, fingerprint(vocabulary)):
                raise ShardError(
                    f"{folder} was made with another tokenizer than that of {path.name}."
                )
        run = Run(
            out,
            checkpoint_seconds=checkpoint_seconds,
            stop_after=steps,
            records_per_forward=records_per_forward,
            start=start,
            base=path,
            dtype=torch_dtype,
            evaluate_every=max(evaluate_every, 1),
            matmul_rate=(
                matmul_rate(torch_device, torch_dtype)
                if chosen.stage in ("fim", "adapt") and not chosen.is_full
                else None
            ),
        )
        if evaluate_every and len(held_out):
            unseen_runs = runs_of_lines(chosen, held_out) if runs else ()
            unseen = ShardSource(
                held_out,
                special_ids,
                chosen.seed,
                runs=unseen_runs,
                edits=unseen_edits if chosen.stage == "fim" else None,
                num_edits=2,
            )
            run = replace(run, evaluate=_evaluation(chosen, unseen))
        source = ShardSource(
            shards,
            special_ids,
            chosen.seed,
            chosen.vocabulary_size,
            edits=edits,
            num_edits=max(chosen.num_edits, 1),
            runs=runs,
            own=own_shards,
            decode=Tokenizer(vocabulary).decode if chosen.syntax_weight > 0 else None,
        )
        console = Console(stderr=True, quiet=not world.is_first)
        with training_bar(console, chosen.name, chosen.num_steps) as tell:
            written = train(base, chosen, source, run, tell, world)
    if world.is_first:
        print(written)  # noqa: T201


def compile_layers(model: Transformer) -> None:
    """Compile the layers in place, once for all of them and for any number of rows."""
    for block in model.blocks:
        block.compile(dynamic=True)


def _edits(recipe: Recipe, data: Path) -> tuple[EditShards | None, EditShards | None]:
    """Edits to train on and held-out ones, where the recipe uses them and the data has them."""
    is_used = recipe.num_edits > 0 or (recipe.stage == "edit" and recipe.uses_old_text)
    if not is_used or not (data / EDITS.facts).is_file():
        return None, None
    seen, unseen = EditShards(data).split(HELD_OUT_SHARE)
    if recipe.stage == "fim":
        return short_edits(recipe, seen), short_edits(recipe, unseen)
    return (seen if len(seen) else None), (unseen if len(unseen) else None)


def _evaluation(
    recipe: Recipe, unseen: ShardSource
) -> Callable[[Transformer], Mapping[str, float]]:
    """Held-out figures; a base that is itself trained is asked anew what it would write."""
    # Holes and edits are told apart, so there are more of both together.
    count = NUM_EVALUATED * (3 if recipe.num_edits else 1)
    records = [unseen.draw(index) for index in range(count)]
    if not recipe.is_full:
        return held_out_figures(recipe, records)
    return lambda model: held_out_figures(recipe, records)(model)
