"""No file that shares 30 consecutive tokens with a benchmark is trained on.

The index holds hashes of 30 tokens, not the tokens; of files in a folder it reads every text in
every JSON or JSON Lines file, whatever its field is called. Knows no benchmark by name.
"""

import gzip
import hashlib
import json
import zlib
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from model.format.tokenizer import Tokenizer
from training.data.source import SourceFile

NUM_TOKENS = 30
_SUFFIXES = (".json", ".jsonl", ".json.gz", ".jsonl.gz")
_MULTIPLIER = np.uint64(0x9E3779B97F4A7C15)
"""2^64 divided by the golden ratio, odd: a Weyl multiplier."""

Hashes = npt.NDArray[np.uint64]


class DecontaminationError(ValueError):
    """A folder that cannot be read or holds nothing; one sentence for a person."""


class Index:
    """The hashes of all runs of `NUM_TOKENS` tokens of some texts.

    Two different runs have the same 64-bit hash once in 10^19; that would drop a file too many.
    """

    def __init__(self, hashes: Hashes) -> None:
        self.hashes = np.unique(hashes)

    @property
    def sha256(self) -> str:
        """What tells one index from another."""
        return hashlib.sha256(self.hashes.tobytes()).hexdigest()

    def hits(self, tokens: Sequence[int]) -> bool:
        """Whether a run of these tokens is one of the index."""
        if self.hashes.size == 0:
            return False
        runs = run_hashes(tokens)
        places = np.searchsorted(self.hashes, runs)
        places[places == self.hashes.size] = 0
        return bool(np.any(self.hashes[places] == runs))


def run_hashes(tokens: Sequence[int]) -> Hashes:
    """One hash for each run of `NUM_TOKENS` tokens, by where it starts; none if there are fewer.

    Polynomial in the multiplier modulo 2^64, mixed at the end.
    """
    ids = np.asarray(tokens, dtype=np.uint64) + np.uint64(1)
    num_runs = ids.size - NUM_TOKENS + 1
    if num_runs <= 0:
        return np.empty(0, dtype=np.uint64)
    hashes = np.zeros(num_runs, dtype=np.uint64)
    for offset in range(NUM_TOKENS):
        hashes = hashes * _MULTIPLIER + ids[offset : offset + num_runs]
    hashes = (hashes ^ (hashes >> np.uint64(31))) * _MULTIPLIER
    return hashes ^ (hashes >> np.uint64(29))


def index_folder(folder: Path, tokenizer: Tokenizer) -> Index:
    """The index of every text in the JSON files of a folder and below it.

    Raises:
        DecontaminationError: if there is no such file, or one is damaged.
    """
    paths = sorted(path for path in folder.rglob("*") if path.name.endswith(_SUFFIXES))
    if not paths:
        raise DecontaminationError(f"{folder} holds no JSON files to decontaminate against.")
    # Benchmarks repeat a task's text in hundreds of lines, and encoding costs the most.
    texts = {text for path in paths for text in _texts_of_file(path)}
    return index_texts(sorted(texts), tokenizer)


def index_texts(texts: Iterable[str], tokenizer: Tokenizer) -> Index:
    """The index of some texts."""
    hashes = [np.unique(run_hashes(tokenizer.encode(text))) for text in texts]
    return Index(np.concatenate([np.empty(0, dtype=np.uint64), *hashes]))


def decontaminate(file: SourceFile, index: Index, tokenizer: Tokenizer) -> SourceFile:
    """Drop a file that shares a run of tokens with the index."""
    if index.hashes.size and index.hits(tokenizer.encode(file.text)):
        return file.drop("decontaminate", f"{NUM_TOKENS} tokens of a benchmark")
    return file


def _texts_of_file(path: Path) -> Iterator[str]:
    try:
        content = path.read_bytes()
        if path.suffix == ".gz":
            content = gzip.decompress(content)
        is_lines = ".jsonl" in path.name
        for line in content.decode().split("\n") if is_lines else [content.decode()]:
            if line.strip():
                yield from _texts(json.loads(line))
    except (OSError, EOFError, zlib.error, ValueError) as error:
        raise DecontaminationError(f"{path} is no JSON file: {error}.") from error


def _texts(value: Any) -> Iterator[str]:
    """All texts that are long enough to hold a run, however deep."""
    values = [value]
    while values:
        value = values.pop()
        if isinstance(value, str):
            if len(value) >= NUM_TOKENS:
                # Source files have one kind of line break; the texts have to have the same.
                yield value.replace("\r\n", "\n")
        elif isinstance(value, list):
            values += value
        elif isinstance(value, dict):
            values += value.values()
