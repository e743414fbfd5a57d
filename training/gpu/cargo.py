"""What a job on a lent GPU needs, in one archive: weights, data, and updates to begin with.

Weights are the GGUF file with the tokens of the data only (`trim`). Records are taken file by file
in a seeded order, and what is taken of a file stays together: several records of one file repeat
its text, which the compression then stores once (0.7 bytes a token). Knows no training.
"""

import json
import lzma
import tarfile
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from model.adapter import load_adapter, load_update, save_adapter
from model.config import ModelConfig
from model.weights import open_source
from training.data.shards import INDEX, Pack, Shards, write_shards
from training.gpu.parts import MIB, join_parts, split
from training.gpu.trim import Ids, kept_ids, trim_gguf

CARGO = "cargo.tar"
MODEL, TOKENS, RECORDS, FACTS = "model.gguf", "tokens.xz", "records.npy", "facts.json"
UPDATE, START = "update.safetensors", "start.safetensors"
ADAPTERS = ("fim", "adapter")
"""Names of what a job brings back: an update of the base, and an adapter."""
_COMPRESSION = {"id": lzma.FILTER_LZMA2, "preset": 1, "dict_size": 64 * MIB}


class CargoError(ValueError):
    """What cannot be packed; one sentence for a person."""


def pack_cargo(
    data: Path,
    model: Path,
    out: Path,
    *,
    mib: int,
    data_mib: int,
    seed: int,
    base_update: Path | None = None,
    start: Path | None = None,
) -> dict[str, Any]:
    """Write the parts of an archive, one a folder: `out/1`, `out/2` …

    Args:
        data: folder of shards.
        model: GGUF file.
        out: folder for the parts.
        mib: largest size of a part.
        data_mib: stop taking records when they fill so much.
        seed: which files' records, if not all fit.
        base_update: update of the base; by default that of `start`. A job without one begins with
            recipe fim.
        start: gated adapter to begin with.

    Returns:
        Counts, to be told.

    Raises:
        CargoError: if the model is no GGUF file.
    """
    if model.is_dir():
        raise CargoError(f"{model} is a folder; a job travels with a GGUF file.")
    Shards(data)  # refuses what is damaged
    tokens: npt.NDArray[np.uint32] = np.memmap(data / "tokens.bin", dtype="<u4", mode="r")
    ids = kept_ids(model, np.unique(tokens))
    with tempfile.TemporaryDirectory(dir=_made(out)) as name:
        folder = Path(name)
        trim_gguf(model, folder / MODEL, ids)
        index = _pack_records(data, tokens, ids, folder / TOKENS, data_mib * MIB, seed)
        np.save(folder / RECORDS, index)
        _fit_updates(model, folder, base_update, start)
        config = open_source(model).config
        facts = {
            "num_records": len(index),
            "num_tokens": int(index["length"].sum()),
            "num_ids": len(ids),
            "name": config.name,
            "vocab_size": config.vocab_size,
        }
        (folder / FACTS).write_text(json.dumps(facts))
        archive = folder / CARGO
        with tarfile.open(archive, "w") as tar:
            for path in sorted(folder.iterdir()):
                if path != archive:
                    tar.add(path, path.name)
        parts = split(archive, lambda number: out / str(number + 1), mib * MIB)
    return {**facts, "num_parts": len(parts)}


def unpack_cargo(parts: Path, work: Path) -> Path:
    """The folder of an archive's files, with its records as shards in `data/`; made only once.

    Raises:
        PartsError: if parts are missing or damaged.
    """
    folder = work / "cargo"
    if (folder / "data" / "dataset.json").exists():
        return folder
    archive = join_parts(parts, CARGO, work / CARGO)
    with tarfile.open(archive) as tar:
        tar.extractall(folder, filter="data")
    archive.unlink()
    raw = lzma.decompress((folder / TOKENS).read_bytes())
    tokens = np.frombuffer(raw, dtype="<u4").astype(np.uint32)
    facts = json.loads((folder / FACTS).read_text())
    write_shards(folder / "data", [Pack(tokens, np.load(folder / RECORDS))], facts)
    return folder


def whole_config(cargo: Path, trimmed: ModelConfig) -> ModelConfig:
    """The configuration of the model that was trimmed, whose name an adapter's file shall bear."""
    facts = json.loads((cargo / FACTS).read_text())
    return replace(trimmed, name=facts["name"], vocab_size=facts["vocab_size"])


def _made(folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def _pack_records(
    data: Path,
    tokens: npt.NDArray[np.uint32],
    ids: Ids,
    target: Path,
    num_bytes: int,
    seed: int,
) -> npt.NDArray[Any]:
    """Write renumbered tokens of whole files until they fill `num_bytes`; returns their index."""
    index = np.load(data / RECORDS)
    order = np.argsort(index["file"], kind="stable")
    groups = np.split(order, np.flatnonzero(np.diff(index["file"][order])) + 1)
    compressor = lzma.LZMACompressor(filters=[_COMPRESSION])
    taken, offset, size = [], 0, 0
    with target.open("wb") as file:
        for number in np.random.default_rng(seed).permutation(len(groups)):
            if size >= num_bytes:
                break
            for row in index[groups[number]]:
                begin, length = int(row["offset"]), int(row["length"])
                renumbered = np.searchsorted(ids, tokens[begin : begin + length]).astype("<u4")
                size += file.write(compressor.compress(renumbered.tobytes()))
                moved = row.copy()
                moved["offset"] = offset
                taken.append(moved)
                offset += length
        file.write(compressor.flush())
    return np.array(taken, dtype=INDEX)


def _fit_updates(model: Path, folder: Path, base_update: Path | None, start: Path | None) -> None:
    """The same updates for the trimmed model, whose layers are those of the whole one."""
    config, trimmed = open_source(model).config, open_source(folder / MODEL).config
    update = None
    if base_update is not None:
        update = load_adapter(base_update, config, "merge")
    elif start is not None:
        update = load_update(start, config)
    if update is not None:
        save_adapter(update, trimmed, folder / UPDATE, "merge")
    if start is not None:  # it is trained further, so half the bytes are no loss
        adapter = load_adapter(start, config).to(torch.bfloat16)
        save_adapter(adapter, trimmed, folder / START)
