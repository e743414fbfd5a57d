"""The state of a run on disk: tensors as safetensors, numbers as JSON, replaced as a whole.

A checkpoint is a folder `step-N`. It is written beside, synced, and renamed, so that a run that is
killed at any moment finds the last whole one. Knows neither models nor optimizers.
"""

import json
import os
import re
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

_NAME = re.compile(r"step-(\d+)")


class CheckpointError(ValueError):
    """A checkpoint that cannot be read; one sentence for a person."""


@dataclass(frozen=True)
class Checkpoint:
    """What a run needs to go on as if it had never stopped."""

    step: int
    """Steps done."""
    tensors: Mapping[str, Tensor]
    values: Mapping[str, Any]
    """Plain data: the recipe, counters."""


def save_checkpoint(folder: Path, checkpoint: Checkpoint, *, keep: int = 2) -> Path:
    """Write a checkpoint and remove all but the last `keep`; returns its folder."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"step-{checkpoint.step}"
    part = folder / f"{path.name}.part"
    shutil.rmtree(part, ignore_errors=True)
    part.mkdir()
    tensors = {name: tensor.detach().contiguous() for name, tensor in checkpoint.tensors.items()}
    save_file(tensors, part / "tensors.safetensors")
    (part / "values.json").write_text(json.dumps(dict(checkpoint.values), indent=1))
    for file in part.iterdir():
        _sync(file)
    shutil.rmtree(path, ignore_errors=True)
    part.rename(path)
    _sync(folder)
    for old in _saved(folder)[:-keep]:
        shutil.rmtree(old, ignore_errors=True)
    return path


def load_checkpoint(folder: Path) -> Checkpoint | None:
    """The last checkpoint in a folder; None if there is none.

    Raises:
        CheckpointError: if it is damaged.
    """
    saved = _saved(folder)
    if not saved:
        return None
    path = saved[-1]
    try:
        tensors = load_file(path / "tensors.safetensors")
        values = json.loads((path / "values.json").read_text())
    except (OSError, ValueError, SafetensorError) as error:
        raise CheckpointError(
            f"{path} is damaged ({error}); remove it to go on from the one before."
        ) from error
    return Checkpoint(_step(path), tensors, values)


def _saved(folder: Path) -> list[Path]:
    if not folder.is_dir():
        return []
    return sorted((path for path in folder.iterdir() if _NAME.fullmatch(path.name)), key=_step)


def _step(path: Path) -> int:
    match = _NAME.fullmatch(path.name)
    assert match is not None
    return int(match[1])


def _sync(path: Path) -> None:
    """A rename is only as good as what was on the disk before it."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
