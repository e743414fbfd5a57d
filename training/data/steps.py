"""The stages as steps of datatrove, whose executors run them here, on Slurm or on Ray.

A task is a rank of so many; each takes its share of the packages. What a step needs beside the
files, such as the tokenizer, it names by path, and each process loads it once: steps travel between
machines.
"""

import functools
import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np
from datatrove.data import Document
from datatrove.pipeline.base import PipelineStep

from model.format.tokenizer import Tokenizer
from model.format.vocabulary import read_vocabulary
from training.data.decontaminate import Index, decontaminate
from training.data.fetch import Fetch
from training.data.manifest import Entry
from training.data.packages import package_files
from training.data.parts import read_files, read_head, write_part
from training.data.records import RecordMaker
from training.data.shards import Pack, file_key
from training.data.source import Release, SourceFile, Stage, each

LAYOUTS = ("spm", "psm", "plain")
Documents = Iterable[Document]


def to_document(file: SourceFile) -> Document:
    """A file as datatrove passes it on."""
    metadata: dict[str, Any] = {
        "release": asdict(file.release),
        "path": file.path,
        "dropped": file.dropped,
        "replaced": dict(file.replaced),
    }
    return Document(file.text, f"{file.release.name}/{file.path}", metadata=metadata)


def to_file(document: Document, rank: int) -> SourceFile:
    """A document as our stages take it; one of another reader belongs to a part of its task's."""
    metadata = document.metadata
    return SourceFile(
        Release(**metadata.get("release", {"name": f"part-{rank:05d}"})),
        metadata.get("path", document.id),
        document.text,
        metadata.get("dropped", ""),
        tuple(sorted(metadata.get("replaced", {}).items())),
    )


class ReadPackages(PipelineStep):  # type: ignore[misc]
    """Fetches packages and reads their files; those whose part is there already are skipped."""

    type = "READER"
    name = "packages"

    def __init__(
        self,
        names: tuple[str, ...],
        *,
        pins: Mapping[str, Entry],
        fetch: Fetch,
        parts: Path,
        scratch: Path,
    ) -> None:
        super().__init__()
        self.names, self.pins, self.fetch = names, dict(pins), fetch
        self.parts, self.scratch = parts, scratch

    def run(
        self, data: Documents | None = None, rank: int = 0, world_size: int = 1
    ) -> Iterator[Document]:
        """Documents of this rank's packages."""
        yield from data or ()
        for name in self.names[rank::world_size]:
            head, pin = read_head(self.parts, name), self.pins.get(name)
            if head is None or (pin is not None and head.release.sha256 != pin.sha256):
                yield from map(
                    to_document, package_files(name, self.pins, self.fetch, self.scratch)
                )


class ReadParts(PipelineStep):  # type: ignore[misc]
    """Reads the kept files of parts; with verdicts, only those that were no duplicates."""

    type = "READER"
    name = "parts"

    def __init__(self, names: tuple[str, ...], parts: Path, verdicts: Path | None = None) -> None:
        super().__init__()
        self.names, self.parts, self.verdicts = names, parts, verdicts

    def run(
        self, data: Documents | None = None, rank: int = 0, world_size: int = 1
    ) -> Iterator[Document]:
        """Documents of this rank's parts."""
        yield from data or ()
        for name in self.names[rank::world_size]:
            if self.verdicts is None:
                yield from map(to_document, read_files(self.parts, name))
                continue
            verdict = read_verdicts(self.verdicts).get(name)
            kept = set(verdict.kept if verdict else ())
            for file in read_files(self.parts, name):
                if file.path in kept:
                    yield to_document(file)


class Apply(PipelineStep):  # type: ignore[misc]
    """Any stage."""

    type = "STAGE"

    def __init__(self, name: str, stage: Stage) -> None:
        self.name = name
        super().__init__()
        self.stage = stage

    def run(self, data: Documents, rank: int = 0, world_size: int = 1) -> Iterator[Document]:
        """The documents behind the stage, dropped ones among them."""
        del world_size
        for file in self.stage(to_file(document, rank) for document in data):
            if file.dropped:
                self.stat_update(file.dropped)
            yield to_document(file)


class WriteParts(PipelineStep):  # type: ignore[misc]
    """Keeps the files of each package as a part."""

    type = "WRITER"
    name = "parts"

    def __init__(self, parts: Path) -> None:
        super().__init__()
        self.parts = parts

    def run(self, data: Documents, rank: int = 0, world_size: int = 1) -> Iterator[Document]:
        """The same documents, each when the part of its package is on the disk."""
        del world_size
        files = (to_file(document, rank) for document in data)
        for _, group in groupby(files, key=lambda file: file.release.name):
            package = list(group)
            write_part(self.parts, package)
            yield from map(to_document, package)


@dataclass(frozen=True)
class Verdict:
    """What is left of a package when duplicates are gone."""

    kept: tuple[str, ...]
    """Paths."""
    key: str
    """Tells one set of kept texts from another."""
    num_bytes: int
    dropped: Mapping[str, int]


class WriteVerdicts(PipelineStep):  # type: ignore[misc]
    """Notes which files were no duplicates; there is one task, since it has to see all of them."""

    type = "WRITER"
    name = "verdicts"

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.path = path

    def run(self, data: Documents, rank: int = 0, world_size: int = 1) -> Iterator[Document]:
        """The same documents."""
        assert world_size == 1
        verdicts: dict[str, dict[str, Any]] = {}
        for document in data:
            file = to_file(document, rank)
            verdict = verdicts.setdefault(
                file.release.name, {"kept": [], "key": 0, "num_bytes": 0, "dropped": {}}
            )
            if file.dropped:
                dropped = verdict["dropped"]
                dropped[file.dropped] = dropped.get(file.dropped, 0) + 1
            else:
                verdict["kept"].append(file.path)
                verdict["num_bytes"] += len(file.text.encode())
                key = f"{verdict['key']}\0{file.path}\0{file.text}"
                verdict["key"] = f"{file_key(key):016x}"
            yield document
        temporary = self.path.with_name(self.path.name + ".part")
        temporary.write_text(json.dumps(verdicts))
        temporary.replace(self.path)


def read_verdicts(path: Path) -> dict[str, Verdict]:
    """Verdicts by package."""
    return _read_verdicts(path, path.stat().st_mtime_ns)


@functools.lru_cache(maxsize=1)
def _read_verdicts(path: Path, mtime_ns: int) -> dict[str, Verdict]:
    del mtime_ns
    return {
        name: Verdict(tuple(v["kept"]), str(v["key"]), v["num_bytes"], v["dropped"])
        for name, v in json.loads(path.read_bytes()).items()
    }


class WritePacks(PipelineStep):  # type: ignore[misc]
    """Makes the records of each package and keeps them, packed."""

    type = "WRITER"
    name = "packs"

    def __init__(
        self, packs: Path, verdicts: Path, *, model: Path, seed: int, max_tokens: int
    ) -> None:
        super().__init__()
        self.packs, self.verdicts = packs, verdicts
        self.model, self.seed, self.max_tokens = model, seed, max_tokens

    def run(self, data: Documents, rank: int = 0, world_size: int = 1) -> Iterator[Document]:
        """The same documents, each when the pack of its package is on the disk."""
        del world_size
        files = (to_file(document, rank) for document in data)
        for name, group in groupby(files, key=lambda file: file.release.name):
            package = list(group)
            path = pack_path(self.packs, name, read_verdicts(self.verdicts)[name])
            if not path.exists():
                self._write(path, package)
            yield from map(to_document, package)

    def _write(self, path: Path, package: list[SourceFile]) -> None:
        maker = _record_maker(self.model, self.max_tokens)
        layouts = dict.fromkeys(LAYOUTS, 0)
        records = []
        for file in package:
            key = file_key(file.text)
            name = f"{file.release.name}/{file.path}"
            for made in maker.make(file.text, seed=self.seed, name=name):
                records.append((made.record, key))
                layouts[made.layout] += 1
        pack = Pack.of(records)
        temporary = path.with_name(path.name + ".part")
        with temporary.open("wb") as target:
            np.savez(target, tokens=pack.tokens, index=pack.index, layouts=list(layouts.values()))
        temporary.replace(path)


def pack_path(packs: Path, name: str, verdict: Verdict) -> Path:
    """Where the pack of a package with these kept files is."""
    return packs / f"{name}-{verdict.key}.npz"


def read_pack(path: Path) -> tuple[Pack, dict[str, int]]:
    """A pack, and how many of its records have which layout."""
    with np.load(path) as arrays:
        pack = Pack(arrays["tokens"], arrays["index"])
        return pack, dict(zip(LAYOUTS, arrays["layouts"].tolist(), strict=True))


def decontaminated(
    model: Path, index: Path | None, files: Iterable[SourceFile]
) -> Iterator[SourceFile]:
    """`decontaminate` with the tokenizer and the index of two paths; without an index nothing."""
    if index is None:
        return iter(files)
    change = functools.partial(
        decontaminate, index=load_index(index), tokenizer=load_tokenizer(model)
    )
    return each(change, files)


@functools.cache
def load_tokenizer(model: Path) -> Tokenizer:
    """The tokenizer of a model, once a process."""
    return Tokenizer(read_vocabulary(model))


@functools.cache
def load_index(path: Path) -> Index:
    """A stored index, once a process."""
    return Index(np.load(path))


@functools.cache
def _record_maker(model: Path, max_tokens: int) -> RecordMaker:
    return RecordMaker(read_vocabulary(model), max_tokens=max_tokens)
