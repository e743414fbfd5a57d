"""The loop on the debug model: what it computes, and that nothing stops it from going on."""

import json
import multiprocessing
import os
import signal
import time
from dataclasses import replace

import pytest
import torch

from model.adapter import Adapter, AdapterConfig, load_adapter
from model.config import NAMED
from model.network import Transformer
from model.noise import seeded_generator
from training import train as training
from training.optim import DivergedError
from training.recipes import RECIPES, RecipeError, debug, recipe_from_data
from training.stages import STAGES, TrainingRecord, context
from training.train import Run, train

CONFIG = NAMED["debug"]
SPECIAL = torch.tensor([510, 511])
FIM = replace(debug(), name="fim", stage="fim", kind="merge")


def base():
    torch.manual_seed(11)
    return Transformer(CONFIG).eval()


class Repeats:
    """Records over ten tokens only, which even a random network can be taught to prefer."""

    def draw(self, index):
        generator = torch.Generator().manual_seed(index)
        ids = (torch.arange(40) + int(torch.randint(0, 10, (1,), generator=generator))) % 10
        return TrainingRecord(torch.cat([SPECIAL[:1], ids, SPECIAL[1:]]), 20, SPECIAL)


def run(folder, recipe=None, **fields):
    figures = []
    train(
        base(),
        recipe or debug(),
        Repeats(),
        Run(folder, **fields),
        lambda step, told: figures.append((step, told)),
    )
    return figures


def losses(folder):
    text = (folder / "log.jsonl").read_text()
    lines = [json.loads(line) for line in text.splitlines() if line.endswith("}")]
    return [(line["step"], line["loss"]) for line in lines]


@pytest.mark.parametrize("recipe", [debug(), FIM], ids=["adapt", "fim"])
def test_a_stage_learns(tmp_path, recipe):
    # A random base is no teacher.
    longer = replace(recipe, num_steps=60, warmup_steps=4, kl_weight=0.0, full_share=0.0)
    figures = run(tmp_path, longer)
    first, last = (sum(told["loss"] for _, told in part) for part in (figures[:5], figures[-5:]))
    assert last < 0.9 * first
    assert [step for step, _ in figures] == list(range(1, 61))
    adapter = load_adapter(tmp_path / "adapter.safetensors", CONFIG, recipe.kind)
    assert any(update.b.abs().sum() > 0 for update in (layer.qkv for layer in adapter.layers))


@pytest.mark.parametrize("recipe", [debug(), FIM], ids=["adapt", "fim"])
def test_stopped_and_continued_is_the_same(tmp_path, recipe):
    run(tmp_path / "whole", recipe)
    for _ in range(3):
        run(tmp_path / "parts", recipe, stop_after=3)
    assert losses(tmp_path / "parts") == losses(tmp_path / "whole")
    whole, parts = (
        load_adapter(tmp_path / name / "adapter.safetensors", CONFIG, recipe.kind)
        for name in ("whole", "parts")
    )
    for a, b in zip(whole.parameters(), parts.parameters(), strict=True):
        assert torch.equal(a, b)


def train_for_ever(folder):
    torch.set_num_threads(1)
    while True:
        run(folder, replace(debug(), num_steps=200), checkpoint_seconds=0.0)


def wait_for_step(folder, step, timeout_s=60):
    deadline = time.monotonic() + timeout_s
    while time.monotonic() < deadline:
        if list(folder.glob("step-*")) and losses(folder)[-1][0] >= step:
            return
        time.sleep(0.05)
    pytest.fail(f"step {step} was not reached")


def test_killed_and_continued_is_the_same(tmp_path):
    recipe = replace(debug(), num_steps=200)
    context = multiprocessing.get_context("spawn")
    for num_steps in (3, 20):
        process = context.Process(target=train_for_ever, args=(tmp_path / "killed",))
        process.start()
        wait_for_step(tmp_path / "killed", num_steps)
        os.kill(process.pid, signal.SIGKILL)
        process.join()
    run(tmp_path / "killed", recipe, stop_after=5)
    killed = dict(losses(tmp_path / "killed"))
    run(tmp_path / "whole", recipe, stop_after=len(killed))
    assert len(killed) > 6, "the run was killed before it began"
    assert killed == pytest.approx(dict(losses(tmp_path / "whole")), rel=1e-4)


def test_another_recipe_does_not_go_on(tmp_path):
    run(tmp_path, stop_after=2)
    with pytest.raises(RecipeError, match="another recipe"):
        run(tmp_path, replace(debug(), peak_lr=1e-3))


def test_what_diverged_is_saved(tmp_path, monkeypatch):
    real = STAGES["adapt"]

    def broken(model, records, recipe, step, generator):
        result = real(model, records, recipe, step, generator)
        return replace(result, loss=result.loss * (float("nan") if step == 5 else 1))

    monkeypatch.setitem(training.STAGES, "adapt", broken)
    with pytest.raises(DivergedError, match="step 5 is nan"):
        run(tmp_path)
    batch = json.loads((tmp_path / "diverged-5.json").read_text())
    assert batch["places"] == [10, 11]
    assert batch["tokens"][0] == Repeats().draw(10).ids_S.tolist()


@pytest.mark.parametrize("name", RECIPES)
def test_recipes_survive_a_checkpoint(name):
    recipe = RECIPES[name]()
    assert recipe_from_data(json.loads(json.dumps(recipe.as_data()))) == recipe
    with pytest.raises(RecipeError, match="another version"):
        recipe_from_data({**recipe.as_data(), "strange": 1})


def test_recipes_that_cannot_be():
    with pytest.raises(RecipeError, match="needs blocks"):
        replace(debug(), block_sizes=())
    with pytest.raises(RecipeError, match="at least 3"):
        replace(debug(), block_sizes=(2,))
    with pytest.raises(RecipeError, match="nothing to do"):
        replace(debug(), num_steps=0)


def test_the_curriculum_of_block_sizes():
    recipe = replace(debug(), num_steps=9, block_sizes=(4, 8, 16))
    assert [recipe.block_size(step) for step in range(9)] == [4] * 3 + [8] * 3 + [16] * 3


def test_a_loss_does_not_depend_on_how_blocks_are_grouped(monkeypatch):
    torch.manual_seed(3)
    recipe = replace(debug(), off_path_weight=0.5, offset_decay=0.8)
    found = []
    for num_rows in (12, 4096):
        monkeypatch.setitem(context.GROUP_ROWS, "cpu", num_rows)
        model = base().requires_grad_(False)
        torch.manual_seed(4)
        model.adapter = Adapter(CONFIG, AdapterConfig(4, 8.0))
        model.adapter.start_mask_at(model.embedding.weight)
        model.adapter.randomize()
        result = STAGES["adapt"](model, [Repeats().draw(1)], recipe, 0, seeded_generator(0, 1))
        result.loss.backward()
        gradient = model.adapter.layers[0].qkv.a.grad
        found.append((result.loss.item(), gradient, result.figures))
    (loss, gradient, figures), (other_loss, other_gradient, other_figures) = found
    assert loss == pytest.approx(other_loss, rel=1e-5)
    assert gradient.norm() > 0
    assert torch.allclose(gradient, other_gradient, rtol=1e-3, atol=1e-6)
    assert figures == pytest.approx(other_figures, rel=1e-4)
