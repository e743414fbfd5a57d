"""Records on the disk, read through memory maps: the only thing of `training.data` that training
needs.

A folder holds `tokens.bin` (uint32, all records one after another), `records.npy` (where each is,
see `INDEX`) and `dataset.json` (what it was made of), which is written last: without it the others
are unfinished. Edit records lie beside them in files of their own (`EDITS`). Knows neither text nor
tokenizers.
"""

import hashlib
import json
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Generic, Self, TypeVar

import numpy as np
import numpy.typing as npt

from training.data.edit_records import EditRecord
from training.data.edits import EDIT_KINDS, EditKind
from training.data.holes import KINDS, RecordKind
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
EDIT_INDEX = np.dtype([*INDEX.descr, ("old_start", "<u4"), ("old_end", "<u4")])
"""`kind` is an index into `edits.EDIT_KINDS`; the old code is the tokens of the record from
`old_start` to `old_end`."""
_TOKEN_BYTES = 4
AnyRecord = TypeVar("AnyRecord", covariant=True)


@dataclass(frozen=True)
class Files:
    """The names of the three files of one kind of records, and what their index is."""

    tokens: str
    index: str
    facts: str
    dtype: np.dtype[Any]
    kinds: tuple[str, ...]


FILL = Files("tokens.bin", "records.npy", "dataset.json", INDEX, KINDS)
"""Records of holes and of text."""
EDITS = Files("edits-tokens.bin", "edits-records.npy", "edits.json", EDIT_INDEX, EDIT_KINDS)
"""Records of edits."""


class ShardError(ValueError):
    """A folder of shards that cannot be used; one sentence for a person."""


@dataclass(frozen=True)
class Pack:
    """Some records as they are stored."""

    tokens: npt.NDArray[np.uint32]
    index: npt.NDArray[Any]
    """Of the type `INDEX` or `EDIT_INDEX`; offsets count from the beginning of `tokens`."""

    @staticmethod
    def of(records: Iterable[tuple[Record, int]]) -> "Pack":
        """Put records, each with the `file` it is from, one after another."""
        return _packed(
            (
                (record.tokens, (record.target_start, KINDS.index(record.kind), file))
                for record, file in records
            ),
            INDEX,
        )

    @staticmethod
    def of_edits(records: Iterable[tuple[EditRecord, int]]) -> "Pack":
        """The same for records of edits."""
        return _packed(
            (
                (
                    record.tokens,
                    (
                        record.target_start,
                        EDIT_KINDS.index(record.kind),
                        file,
                        record.old_start,
                        record.old_end,
                    ),
                )
                for record, file in records
            ),
            EDIT_INDEX,
        )


def _packed(
    records: Iterable[tuple[npt.NDArray[np.uint32], tuple[int, ...]]], dtype: np.dtype[Any]
) -> Pack:
    """Put tokens, each with what the index says behind their length, one after another."""
    tokens: list[npt.NDArray[np.uint32]] = [np.empty(0, dtype=np.uint32)]
    rows, offset = [], 0
    for ids, facts in records:
        rows.append((offset, len(ids), *facts))
        tokens.append(ids)
        offset += len(ids)
    return Pack(np.concatenate(tokens), np.array(rows, dtype=dtype))


def file_key(text: str) -> int:
    """The `file` of a text's records: the first 64 bits of its sha256."""
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "little")


def write_shards(
    folder: Path, packs: Iterable[Pack], facts: Mapping[str, Any], files: Files = FILL
) -> dict[str, Any]:
    """Write a folder of shards; an older one of the same kind there is replaced.

    Args:
        folder: created if need be; other files in it stay.
        packs: in the order in which their records get their numbers.
        facts: what `dataset.json` shall say beside the counts.
        files: which kind of records.

    Returns:
        What `dataset.json` says, or `edits.json` of edits.
    """
    folder.mkdir(parents=True, exist_ok=True)
    (folder / files.facts).unlink(missing_ok=True)
    indexes, offset, digest = [np.empty(0, dtype=files.dtype)], 0, hashlib.sha256()
    with (folder / files.tokens).open("wb") as file:
        for pack in packs:
            tokens = pack.tokens.astype("<u4").tobytes()
            file.write(tokens)
            digest.update(tokens)
            index = pack.index.copy()
            index["offset"] += np.uint64(offset)
            indexes.append(index)
            offset += len(pack.tokens)
    index = np.concatenate(indexes)
    np.save(folder / files.index, index)
    kinds = Counter(files.kinds[kind] for kind in index["kind"].tolist())
    dataset = {
        "format": FORMAT,
        "num_records": len(index),
        "num_tokens": offset,
        "num_target_tokens": int((index["length"] - index["target_start"]).sum()),
        "num_files": len(np.unique(index["file"])),
        "kinds": {kind: kinds[kind] for kind in files.kinds},
        "tokens_sha256": digest.hexdigest(),
        "records_sha256": hashlib.sha256(index.tobytes()).hexdigest(),
        **facts,
    }
    temporary = folder / f"{files.facts}.part"
    temporary.write_text(json.dumps(dataset, indent=1) + "\n")
    temporary.replace(folder / files.facts)
    return dataset


class Stored(ABC, Generic[AnyRecord]):
    """The records of a folder, by number, and the order in which training reads them."""

    files: ClassVar[Files]

    def __init__(self, folder: Path) -> None:
        """Open a folder; its tokens stay on the disk until they are asked for.

        Raises:
            ShardError: if it is unfinished, damaged or of another kind.
        """
        files = self.files
        self.facts = _read_facts(folder, files)
        """`dataset.json`, or `edits.json`."""
        try:
            self._index: npt.NDArray[Any] = np.load(folder / files.index)
            num_bytes = (folder / files.tokens).stat().st_size
        except (OSError, ValueError, EOFError) as error:
            raise ShardError(f"{folder} is damaged: {error}.") from error
        is_intact = (
            self._index.dtype == files.dtype
            and hashlib.sha256(self._index.tobytes()).hexdigest() == self.facts["records_sha256"]
            and num_bytes == self.facts["num_tokens"] * _TOKEN_BYTES
        )
        if not is_intact:
            raise ShardError(f"{folder} is damaged: its files are not those of its {files.facts}.")
        if not len(self._index):
            raise ShardError(f"{folder} holds no records.")
        self._tokens = np.memmap(folder / files.tokens, dtype="<u4", mode="r")

    def __len__(self) -> int:
        return len(self._index)

    def __getitem__(self, number: int) -> AnyRecord:
        """A record; its tokens cannot be written to."""
        row = self._index[number]
        start = int(row["offset"])
        tokens = self._tokens[start : start + int(row["length"])]
        return self._record(np.asarray(tokens), row)

    @abstractmethod
    def _record(self, tokens: npt.NDArray[np.uint32], row: Any) -> AnyRecord:
        """What a row of the index says of some tokens."""

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

    def file_of(self, number: int) -> int:
        """What `file_key` says of the file that a record is from."""
        return int(self._index[number]["file"])

    def place(self, step: int, seed: int) -> int:
        """The record that comes at a step of a shuffled pass without end (`shuffle.place`)."""
        return place(step, len(self), seed)

    def split(self, held_out_share: float) -> tuple[Self, Self]:
        """Records to train on and records to validate with, which share no file.

        The share is of files, drawn by their hash: a file is held out or not whatever else is in
        the folder, for its edits as for its holes. Either side may be empty if there are few files.
        """
        assert 0 <= held_out_share <= 1
        is_held_out = self._index["file"] < held_out_share * 2.0**64
        return self._only(~is_held_out), self._only(is_held_out)

    def within(self, max_tokens: int) -> Self:
        """Records of at most so many tokens."""
        return self._only(self._index["length"] <= max_tokens)

    def _only(self, is_chosen: npt.NDArray[np.bool_]) -> Self:
        chosen = object.__new__(type(self))
        chosen.facts, chosen._tokens = self.facts, self._tokens
        chosen._index = self._index[is_chosen]
        return chosen


class Shards(Stored[Record]):
    """Records of holes and of text."""

    files = FILL

    def _record(self, tokens: npt.NDArray[np.uint32], row: Any) -> Record:
        return Record(tokens, int(row["target_start"]), KINDS[row["kind"]])

    def holes(
        self, max_tokens: int, kind: RecordKind | None = None, *, min_target: int = 0
    ) -> "Shards":
        """Records with a hole and at most so many tokens: nothing of their context is cut off.

        Args:
            max_tokens: of a record.
            kind: of the hole; None: any.
            min_target: tokens of the hole, the end included.
        """
        is_chosen = self._index["kind"] != KINDS.index("file")
        is_chosen &= self._index["length"] <= max_tokens
        is_chosen &= self._index["length"] - self._index["target_start"] >= min_target
        if kind is not None:
            is_chosen &= self._index["kind"] == KINDS.index(kind)
        return self._only(is_chosen)


class EditShards(Stored[EditRecord]):
    """Records of edits, made with `seed-train data build --edits`."""

    files = EDITS

    def without(self, kind: EditKind) -> "EditShards":
        """Edits of the other kinds."""
        return self._only(self._index["kind"] != EDIT_KINDS.index(kind))

    def _record(self, tokens: npt.NDArray[np.uint32], row: Any) -> EditRecord:
        return EditRecord(
            tokens,
            int(row["target_start"]),
            EDIT_KINDS[row["kind"]],
            int(row["old_start"]),
            int(row["old_end"]),
        )


def _read_facts(folder: Path, files: Files) -> dict[str, Any]:
    path = folder / files.facts
    try:
        facts = json.loads(path.read_bytes())
    except FileNotFoundError as error:
        raise ShardError(
            f"{folder} holds no finished data set; make one with `seed-train data build"
            f"{' --edits' if files is EDITS else ''}`."
        ) from error
    except (OSError, ValueError) as error:
        raise ShardError(f"{path} is damaged: {error}.") from error
    if not isinstance(facts, dict) or facts.get("format") != FORMAT:
        raise ShardError(f"{path} is of another version; build the data again.")
    if not {"records_sha256", "num_tokens"} <= facts.keys():
        raise ShardError(f"{path} is damaged: it lacks counts.")
    return facts
