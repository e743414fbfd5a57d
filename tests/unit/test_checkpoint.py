"""Checkpoints that survive being killed, the schedule, and the guard against spikes."""

import multiprocessing
import os
import signal
import time

import pytest
import torch

from training.checkpoint import Checkpoint, CheckpointError, load_checkpoint, save_checkpoint
from training.optim import DivergedError, Schedule, SpikeGuard


def state(step):
    return Checkpoint(step, {"weight": torch.full((50, 50), float(step))}, {"step": step, "x": [1]})


def test_the_last_is_found_and_old_ones_go(tmp_path):
    assert load_checkpoint(tmp_path / "none") is None
    for step in (1, 2, 9, 10):
        save_checkpoint(tmp_path, state(step))
    found = load_checkpoint(tmp_path)
    assert found.step == 10
    assert torch.equal(found.tensors["weight"], state(10).tensors["weight"])
    assert found.values == {"step": 10, "x": [1]}
    assert sorted(path.name for path in tmp_path.iterdir()) == ["step-10", "step-9"]


def test_a_part_is_no_checkpoint(tmp_path):
    save_checkpoint(tmp_path, state(3))
    (tmp_path / "step-4.part").mkdir()
    (tmp_path / "step-4.part" / "values.json").write_text("{")
    assert load_checkpoint(tmp_path).step == 3
    save_checkpoint(tmp_path, state(4))
    assert load_checkpoint(tmp_path).step == 4


def test_a_damaged_one_is_named(tmp_path):
    path = save_checkpoint(tmp_path, state(3))
    (path / "tensors.safetensors").write_bytes(b"nonsense")
    with pytest.raises(CheckpointError, match="step-3 is damaged"):
        load_checkpoint(tmp_path)


def save_for_ever(folder):
    step = 0
    while True:
        step += 1
        save_checkpoint(folder, state(step))


def test_killed_at_any_moment_the_last_whole_one_is_there(tmp_path):
    context = multiprocessing.get_context("fork")
    for delay in (0.05, 0.11, 0.17, 0.23):
        process = context.Process(target=save_for_ever, args=(tmp_path,))
        process.start()
        time.sleep(delay)
        os.kill(process.pid, signal.SIGKILL)
        process.join()
        found = load_checkpoint(tmp_path)
        if found is not None:
            assert found.values["step"] == found.step
            assert torch.equal(found.tensors["weight"], state(found.step).tensors["weight"])
    assert found is not None


def test_the_schedule():
    schedule = Schedule(peak=1.0, num_steps=110, warmup_steps=10)
    assert schedule.lr(0) == pytest.approx(0.1)
    assert schedule.lr(9) == pytest.approx(1.0)
    assert schedule.lr(10) == pytest.approx(1.0)
    assert schedule.lr(60) == pytest.approx(0.55)
    assert schedule.lr(110) == schedule.lr(500) == pytest.approx(0.1)


def test_a_spike_is_told_from_noise():
    guard = SpikeGuard()
    generator = torch.Generator().manual_seed(0)
    for step in range(300):
        noise = float(torch.randn(1, generator=generator)) * 0.1
        guard.check(step, 3 - step / 200 + noise)
    again = SpikeGuard()
    again.restore(guard.losses)
    for each in (guard, again):
        with pytest.raises(DivergedError, match="jumped to 9"):
            each.check(300, 9.0)
        with pytest.raises(DivergedError, match="is nan"):
            each.check(300, float("nan"))
