"""The state of a run on disk: tensors and, as JSON, numbers, replaced as a whole.

A checkpoint is a folder `step-N`. It is written beside, synced, and renamed, so that a run that is
killed at any moment finds the last whole one. Tensors that one process holds are one safetensors
file; those that are spread over processes are PyTorch's distributed checkpoint, a file a process,
which any other number of processes can read. Knows neither models nor optimizers.
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
from torch.distributed.checkpoint.api import CheckpointException
from torch.distributed.checkpoint.state_dict_loader import load
from torch.distributed.checkpoint.state_dict_saver import save

from training.distributed import World

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
    part = _begin(folder, checkpoint.step)
    tensors = {name: tensor.detach().contiguous() for name, tensor in checkpoint.tensors.items()}
    save_file(tensors, part / "tensors.safetensors")
    return _finish(part, checkpoint.values, keep)


def load_checkpoint(folder: Path) -> Checkpoint | None:
    """The last checkpoint in a folder; None if there is none.

    Raises:
        CheckpointError: if it is damaged.
    """
    path = last_checkpoint(folder)
    if path is None:
        return None
    values = read_values(path)
    try:
        tensors = load_file(path / "tensors.safetensors")
    except (OSError, ValueError, SafetensorError) as error:
        raise _damaged(path, error) from error
    return Checkpoint(step_of(path), tensors, values)


def save_shards(
    folder: Path,
    step: int,
    state: Mapping[str, Any],
    values: Mapping[str, Any],
    world: World,
    *,
    keep: int = 2,
) -> None:
    """Write a checkpoint together: each process the tensors, or parts of them, that it holds."""
    if world.is_first:
        _begin(folder, step)
    world.wait()
    save(dict(state), checkpoint_id=_part(folder, step))
    world.wait()
    if world.is_first:
        _finish(_part(folder, step), values, keep)
    world.wait()


def load_shards(path: Path, state: Mapping[str, Any]) -> None:
    """Fill the tensors of `state` from a checkpoint of any number of processes, in place.

    PyTorch keeps the table of contents as a pickle: read only what a run of your own has written.

    Raises:
        CheckpointError: if it is damaged.
    """
    try:
        load(dict(state), checkpoint_id=path)
    except (OSError, ValueError, RuntimeError, EOFError, CheckpointException) as error:
        raise _damaged(path, error) from error


def last_checkpoint(folder: Path) -> Path | None:
    """Folder of the last checkpoint; None if there is none."""
    saved = _saved(folder)
    return saved[-1] if saved else None


def read_values(path: Path) -> Mapping[str, Any]:
    """The plain data of a checkpoint.

    Raises:
        CheckpointError: if it is damaged.
    """
    try:
        values: Mapping[str, Any] = json.loads((path / "values.json").read_text())
    except (OSError, ValueError) as error:
        raise _damaged(path, error) from error
    return values


def _damaged(path: Path, error: BaseException) -> CheckpointError:
    return CheckpointError(f"{path} is damaged ({error}); remove it to go on from the one before.")


def _part(folder: Path, step: int) -> Path:
    return folder / f"step-{step}.part"


def _begin(folder: Path, step: int) -> Path:
    part = _part(folder, step)
    shutil.rmtree(part, ignore_errors=True)
    part.mkdir(parents=True)
    return part


def _finish(part: Path, values: Mapping[str, Any], keep: int) -> Path:
    """Make a part, complete but for its values, the last checkpoint."""
    (part / "values.json").write_text(json.dumps(dict(values), indent=1))
    for file in part.iterdir():
        _sync(file)
    path = part.with_suffix("")
    shutil.rmtree(path, ignore_errors=True)
    part.rename(path)
    _sync(part.parent)
    for old in _saved(part.parent)[:-keep]:
        shutil.rmtree(old, ignore_errors=True)
    return path


def _saved(folder: Path) -> list[Path]:
    if not folder.is_dir():
        return []
    return sorted((path for path in folder.iterdir() if _NAME.fullmatch(path.name)), key=step_of)


def step_of(path: Path) -> int:
    """Steps done at a checkpoint."""
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
