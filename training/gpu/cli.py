"""The commands `seed-train gpu …`, on the machine that prepares a job and gets its results."""

import json
from pathlib import Path
from typing import Annotated

from cyclopts import App, Parameter, validators

from model import hub
from training.gpu.cargo import ADAPTERS, pack_cargo
from training.gpu.parts import PartsError, join_parts

PositiveInt = Annotated[int, Parameter(validator=validators.Number(gte=1))]


def register(app: App) -> None:
    """Add the sub-app `gpu` with its commands."""
    gpu = App(name="gpu", help="Prepares a job on a lent GPU, and takes what it has trained.")
    gpu.command(pack_command, name="pack")
    gpu.command(join_command, name="join")
    app.command(gpu)


def pack_command(
    *,
    data: Path,
    out: Path,
    model: str = hub.DEFAULT_MODEL,
    base_update: Path | None = None,
    start: Path | None = None,
    mib: PositiveInt = 57,
    data_mib: PositiveInt = 56,
    seed: int = 0,
) -> None:
    """Write weights, records and updates as an archive in parts: OUT/1, OUT/2 …, one for each call.

    Args:
        data: folder of shards, from `seed-train data build`.
        out: folder for the parts.
        model: known name, hub id or .gguf file.
        base_update: update of the base from recipe fim; without one, or one that comes with the
            adapter of --start, the job begins with fim.
        start: gated adapter to begin with.
        mib: largest size of a part; what else travels in a call comes on top.
        data_mib: largest share of records.
        seed: which files' records, if not all fit.
    """
    path = hub.resolve(model)
    told = pack_cargo(
        data,
        path,
        out,
        mib=mib,
        data_mib=data_mib,
        seed=seed,
        base_update=base_update,
        start=start,
    )
    print(json.dumps(told))  # noqa: T201


def join_command(*, parts: Path, out: Path) -> None:
    """Put together what a job wrote: fim.safetensors, if it trained that, and adapter.safetensors.

    Both fit the model that the job was packed from; `seed-train export` makes one file.

    Args:
        parts: folder with what came back.
        out: folder for the files.
    """
    names = [f"{name}.safetensors" for name in ADAPTERS if any(parts.rglob(f"{name}.*-of-*"))]
    if not names:
        raise PartsError(f"{parts} holds no parts of a trained adapter.")
    for name in names:
        print(join_parts(parts, name, out / name))  # noqa: T201
