"""Records on the disk, read through memory maps: the only thing of `training.data` that training
needs.

A folder holds `tokens.bin` (uint32, all records one after another), `records.npy` (where each is,
see `INDEX`) and `dataset.json` (what it was made of), which is written last: without it the others
are unfinished. Knows neither text nor tokenizers.
"""

import hashlib
import json
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from training.data.holes import KINDS
from training.data.records import Record
from training.data.shuffle import place

FORMAT = 1
INDEX = np.dtype(
    [
        ("offset", "<u8"),
        ("length", "<u4"),
        ("target_start", "<u4"),
        ("kind", "u1"),
        ("file", "<u8"),
    ]
)
"""`offset` and `length` count tokens, `kind` is an index into `holes.KINDS`, `file` is the head of
the sha256 of the text that the record is from."""
_TOKEN_BYTES = 4


class ShardError(ValueError):
    """A folder of shards that cannot be used; one sentence for a person."""


@dataclass(frozen=True)
class Pack:
    """Some records as they are stored."""

    tokens: npt.NDArray[np.uint32]
    index: npt.NDArray[Any]
    """Of the type `INDEX`; offsets count from the beginning of `tokens`."""

    @staticmethod
    def of(records: Iterable[tuple[Record, int]]) -> "Pack":
        """Put records, each with the `file` it is from, one after another."""
        tokens: list[npt.NDArray[np.uint32]] = [np.empty(0, dtype=np.uint32)]
        rows, offset = [], 0
        for record, file in records:
            kind = KINDS.index(record.kind)
            rows.append((offset, len(record.tokens), record.target_start, kind, file))
            tokens.append(record.tokens)
            offset += len(record.tokens)
        return Pack(np.concatenate(tokens), np.array(rows, dtype=INDEX))


def file_key(text: str) -> int:
    """The `file` of a text's records: the first 64 bits of its sha256."""
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "little")


def write_shards(folder: Path, packs: Iterable[Pack], facts: Mapping[str, Any]) -> dict[str, Any]:
    """Write a folder of shards; an older one there is replaced.

    Args:
        folder: created if need be; other files in it stay.
        packs: in the order in which their records get their numbers.
        facts: what `dataset.json` shall say beside the counts.

    Returns:
        What `dataset.json` says.
    """
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "dataset.json").unlink(missing_ok=True)
    indexes, offset, digest = [np.empty(0, dtype=INDEX)], 0, hashlib.sha256()
    with (folder / "tokens.bin").open("wb") as file:
        for pack in packs:
            tokens = pack.tokens.astype("<u4").tobytes()
            file.write(tokens)
            digest.update(tokens)
            index = pack.index.copy()
            index["offset"] += np.uint64(offset)
            indexes.append(index)
            offset += len(pack.tokens)
    index = np.concatenate(indexes)
    np.save(folder / "records.npy", index)
    kinds = Counter(KINDS[kind] for kind in index["kind"].tolist())
    dataset = {
        "format": FORMAT,
        "num_records": len(index),
        "num_tokens": offset,
        "num_target_tokens": int((index["length"] - index["target_start"]).sum()),
        "num_files": len(np.unique(index["file"])),
        "kinds": {kind: kinds[kind] for kind in KINDS},
        "tokens_sha256": digest.hexdigest(),
        "records_sha256": hashlib.sha256(index.tobytes()).hexdigest(),
        **facts,
    }
    temporary = folder / "dataset.json.part"
    temporary.write_text(json.dumps(dataset, indent=1) + "\n")
    temporary.replace(folder / "dataset.json")
    return dataset


class Shards:
    """The records of a folder, by number, and the order in which training reads them."""

    def __init__(self, folder: Path) -> None:
        """Open a folder; its tokens stay on the disk until they are asked for.

        Raises:
            ShardError: if it is unfinished, damaged or of another kind.
        """
        self.facts = _read_facts(folder)
        """`dataset.json`."""
        try:
            self._index: npt.NDArray[Any] = np.load(folder / "records.npy")
            num_bytes = (folder / "tokens.bin").stat().st_size
        except (OSError, ValueError, EOFError) as error:
            raise ShardError(f"{folder} is damaged: {error}.") from error
        is_intact = (
            self._index.dtype == INDEX
            and hashlib.sha256(self._index.tobytes()).hexdigest() == self.facts["records_sha256"]
            and num_bytes == self.facts["num_tokens"] * _TOKEN_BYTES
        )
        if not is_intact:
            raise ShardError(f"{folder} is damaged: its files are not those of its dataset.json.")
        if not len(self._index):
            raise ShardError(f"{folder} holds no records.")
        self._tokens = np.memmap(folder / "tokens.bin", dtype="<u4", mode="r")

    def __len__(self) -> int:
        return len(self._index)

    def __getitem__(self, number: int) -> Record:
        """A record; its tokens cannot be written to."""
        row = self._index[number]
        start = int(row["offset"])
        tokens = self._tokens[start : start + int(row["length"])]
        return Record(np.asarray(tokens), int(row["target_start"]), KINDS[row["kind"]])

    @property
    def lengths(self) -> npt.NDArray[np.uint32]:
        """Tokens of each record, for packing."""
        lengths: npt.NDArray[np.uint32] = self._index["length"]
        return lengths

    def frequent_ids(self, count: int) -> npt.NDArray[np.int64]:
        """The ids that the whole folder has most often, at most `count`, ascending.

        Those that are as frequent as each other go by their number, the lower ones first.
        """
        counts = np.bincount(self._tokens)
        chosen = np.argsort(-counts, kind="stable")[:count]
        return np.sort(chosen[counts[chosen] > 0])

    def place(self, step: int, seed: int) -> int:
        """The record that comes at a step of a shuffled pass without end (`shuffle.place`)."""
        return place(step, len(self), seed)

    def split(self, held_out_share: float) -> tuple["Shards", "Shards"]:
        """Records to train on and records to validate with, which share no file.

        The share is of files, drawn by their hash: a file is held out or not whatever else is in
        the folder. Either side may be empty if there are few files.
        """
        assert 0 <= held_out_share <= 1
        is_held_out = self._index["file"] < held_out_share * 2.0**64
        return self._only(~is_held_out), self._only(is_held_out)

    def holes(self, max_tokens: int) -> "Shards":
        """Records with a hole and at most so many tokens: nothing of their context is cut off.

        Raises:
            ShardError: if there are none.
        """
        is_chosen = self._index["kind"] != KINDS.index("file")
        is_chosen &= self._index["length"] <= max_tokens
        if not is_chosen.any():
            raise ShardError(f"No record here has a hole and at most {max_tokens} tokens.")
        return self._only(is_chosen)

    def _only(self, is_chosen: npt.NDArray[np.bool_]) -> "Shards":
        chosen = object.__new__(Shards)
        chosen.facts, chosen._tokens = self.facts, self._tokens
        chosen._index = self._index[is_chosen]
        return chosen


def _read_facts(folder: Path) -> dict[str, Any]:
    path = folder / "dataset.json"
    try:
        facts = json.loads(path.read_bytes())
    except FileNotFoundError as error:
        raise ShardError(
            f"{folder} holds no finished data set; make one with `seed-train data build`."
        ) from error
    except (OSError, ValueError) as error:
        raise ShardError(f"{path} is damaged: {error}.") from error
    if not isinstance(facts, dict) or facts.get("format") != FORMAT:
        raise ShardError(f"{path} is of another version; build the data again.")
    if not {"records_sha256", "num_tokens"} <= facts.keys():
        raise ShardError(f"{path} is damaged: it lacks counts.")
    return facts
