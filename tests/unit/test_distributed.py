"""One process and two compute the same run, and either goes on with what the other has begun."""

import json
import multiprocessing
import os
import signal
import socket
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from model.adapter import load_adapter
from model.config import NAMED
from model.format.vocabulary import read_vocabulary
from model.weights import load_model
from tests.tiny import tiny_vocabulary
from tests.tiny_model import write_tiny_model
from tests.unit.test_train import Repeats, base, losses
from training.data.holes import KINDS
from training.data.records import Record
from training.data.shards import Pack, write_shards
from training.distributed import ALONE, World, WorldError, join
from training.full import full_recipe
from training.recipes import RECIPES, RecipeError, debug
from training.train import Run, train

CPU = torch.device("cpu")
UNEVEN = replace(debug(), num_steps=8, records_per_step=3, warmup_steps=2)
SCENARIOS = {
    "adapt": UNEVEN,
    "fim": replace(UNEVEN, stage="fim", kind="merge"),
    "full": replace(UNEVEN, is_full=True, peak_lr=1e-3),
    "packed-full": replace(UNEVEN, is_full=True, peak_lr=1e-3),
}


def go_on(root, name, world, **fields):
    recipe = SCENARIOS[name]
    train(
        base(),
        recipe,
        Repeats(),
        Run(
            root / name,
            records_per_forward=2 if "packed" in name else 1,
            evaluate=lambda model: {"width": float(model.config.width)},
            evaluate_every=2,
            **fields,
        ),
        lambda step, told: None,
        world,
    )


def go_on_alone(root, **fields):
    with join(CPU, has_group=True) as world:
        for name in SCENARIOS:
            go_on(root, name, world, **fields)


def one_of_two(rank, port, root):
    torch.set_num_threads(1)
    os.environ |= {
        "RANK": str(rank),
        "WORLD_SIZE": "2",
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(port),
    }
    with join(CPU) as world:
        assert (world.rank, world.size) == (rank, 2)
        for name in SCENARIOS:
            go_on(root, name, world, stop_after=3)


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """The same runs: by one process to the end, and by one, two and one processes."""
    whole, parts = tmp_path_factory.mktemp("whole"), tmp_path_factory.mktemp("parts")
    go_on_alone(whole)
    go_on_alone(parts, stop_after=3)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    context = multiprocessing.get_context("spawn")
    processes = [context.Process(target=one_of_two, args=(rank, port, parts)) for rank in (0, 1)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(120)
    assert [process.exitcode for process in processes] == [0, 0]
    go_on_alone(parts)
    return whole, parts


@pytest.mark.parametrize("name", SCENARIOS)
def test_any_number_of_processes_computes_the_same(folders, name):
    whole, parts = (losses(folder / name) for folder in folders)
    assert [step for step, _ in parts] == list(range(8))
    assert [loss for _, loss in parts] == pytest.approx([loss for _, loss in whole], rel=1e-4)
    assert len({loss for _, loss in whole}) == 8


@pytest.mark.parametrize("name", SCENARIOS)
def test_one_process_speaks_for_all(folders, name):
    lines = (folders[1] / name / "evaluations.jsonl").read_text().splitlines()
    assert [json.loads(line)["step"] for line in lines] == [0, 2, 4, 6, 8]
    steps = sorted(path.name for path in (folders[1] / name).glob("step-*"))
    assert steps == ["step-6", "step-8"]


def test_all_weights_are_written_as_a_network_that_loads(folders):
    start = base()
    model = load_model(folders[1] / "full" / "model", dtype=torch.float32, device=CPU)
    for (name, before), after in zip(start.named_parameters(), model.parameters(), strict=True):
        assert not torch.equal(before, after), name
    adapter = load_adapter(folders[1] / "full" / "adapter.safetensors", NAMED["debug"])
    assert adapter.layers[0].qkv.b.abs().sum() == 0
    assert adapter.mask_embedding.abs().sum() > 0
    whole = load_model(folders[0] / "full" / "model", dtype=torch.float32, device=CPU)
    for one, other in zip(whole.parameters(), model.parameters(), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-2, atol=1e-4)


def test_a_world_of_one_changes_nothing():
    weight = torch.nn.Parameter(torch.ones(2))
    weight.grad = torch.tensor([1.0, 2.0])
    ALONE.sum_gradients([weight])
    assert weight.grad.tolist() == [1, 2]
    assert ALONE.sum_figures({"a": 1.5}) == {"a": 1.5}
    assert World(1, 3).own(range(8)) == [1, 4, 7]
    assert World(2, 3).own(range(2)) == []


def test_restarts_that_would_fail_are_refused_at_once(monkeypatch):
    for name, value in {
        "WORLD_SIZE": "2",
        "RANK": "0",
        "TORCHELASTIC_MAX_RESTARTS": "3",
        "TORCHELASTIC_USE_AGENT_STORE": "True",
    }.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(WorldError, match="TORCH_DISABLE_SHARE_RDZV_TCP_STORE=1"), join(CPU):
        pass


def test_stages_over_a_frozen_base_are_refused_in_full():
    assert full_recipe(RECIPES["adapt"]()).is_full
    assert RECIPES["fim"]().keep_weight > 0
    assert full_recipe(RECIPES["fim"]()).keep_weight == 0
    with pytest.raises(RecipeError, match="keep_weight needs a frozen base"):
        replace(RECIPES["fim"](), is_full=True)
    with pytest.raises(RecipeError, match="--full is for"):
        full_recipe(replace(debug(), stage="order"))


def write_data(folder: Path) -> Path:
    generator = torch.Generator().manual_seed(5)
    special = min(tiny_vocabulary().special_ids)
    records = []
    for file in range(200):
        text = torch.randint(97, 110, (40,), generator=generator)
        tokens = [special, *text.tolist(), special + 1]
        kind = KINDS[file % len(KINDS)]
        records.append((Record(torch.tensor(tokens).numpy(), 20, kind), file << 56))
    write_shards(folder, [Pack.of(records)], {})
    return folder


@pytest.mark.slow
@pytest.mark.timeout(200)
def test_torchrun_starts_again_what_was_killed(tmp_path):
    model, data = write_tiny_model(tmp_path / "tiny"), write_data(tmp_path / "data")
    command = (
        *(sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2"),
        *("--standalone", "--max-restarts", "1", "-m", "training", "train", "debug"),
        *("--data", str(data), "--model", str(model), "--device", "cpu", "--dtype", "float32"),
        *("--full", "--checkpoint-seconds", "1", "--evaluate-every", "4"),
    )
    environment = os.environ | {"TORCH_DISABLE_SHARE_RDZV_TCP_STORE": "1"}
    whole = subprocess.run(
        [*command, "--out", str(tmp_path / "whole")], capture_output=True, env=environment
    )
    assert whole.returncode == 0, whole.stderr.decode()[-2000:]
    killed = subprocess.Popen([*command, "--out", str(tmp_path / "killed")], env=environment)
    deadline = time.monotonic() + 60
    while not (tmp_path / "killed" / "log.jsonl").exists():
        assert time.monotonic() < deadline
        time.sleep(0.01)
    children = Path(f"/proc/{killed.pid}/task/{killed.pid}/children").read_text().split()
    os.kill(int(children[-1]), signal.SIGKILL)
    assert killed.wait(120) == 0
    assert dict(losses(tmp_path / "killed")) == pytest.approx(
        dict(losses(tmp_path / "whole")), rel=1e-4
    )
    trained = tmp_path / "killed" / "model"
    assert read_vocabulary(trained) == read_vocabulary(model)
    load_model(
        trained,
        dtype=torch.float32,
        device=CPU,
        adapter=tmp_path / "killed" / "adapter.safetensors",
    )
