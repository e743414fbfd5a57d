"""The phases that make records of edits, and the shards of them; behind `dedupe` in the pipeline.

older (a task a drawn package)  an older release: fetch, licence, filters, scrub, decontaminate
edits (a task a package)        files that were no duplicates, their older versions → packs
"""

import functools
from collections.abc import Iterator, Mapping
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np
from datatrove.data import Document
from datatrove.pipeline.base import PipelineStep

from model.format.vocabulary import read_vocabulary
from training.data.edit_records import EditRecordMaker
from training.data.fetch import Fetch, FetchOlder
from training.data.filters import by_path, by_syntax, by_text
from training.data.manifest import Entry, check_pins, manifest_sha256, write_manifest
from training.data.parts import PartHead, num_parts, read_files, read_head, write_part
from training.data.releases import has_older, older_files, only_changed
from training.data.scrub import scrub
from training.data.shards import EDITS, Pack, file_key, write_shards
from training.data.source import Release, SourceFile, each
from training.data.steps import (
    Apply,
    Documents,
    ReadParts,
    Verdict,
    decontaminated,
    read_verdicts,
    to_document,
    to_file,
)
from training.data.work import EDITS_VERSION, QUESTIONS_VERSION, Phase, Work


def edit_phases(work: Work) -> tuple[Phase, ...]:
    """The jobs, to be started when the duplicates are known."""
    plan = work.plan
    names = tuple(name for name in plan.names if has_older(name, plan.seed))
    older = [
        ReadOlder(
            names,
            pins=work.older_pins,
            fetch=plan.fetch,
            fetch_older=plan.fetch_older,
            parts=work.parts,
            older=work.older,
        ),
        Apply("changed", functools.partial(only_changed, work.parts)),
        Apply("path", functools.partial(each, by_path)),
        Apply("text", functools.partial(each, by_text)),
        Apply("syntax", functools.partial(each, by_syntax)),
        Apply("scrub", functools.partial(each, scrub)),
        Apply("decontaminate", functools.partial(decontaminated, plan.model, work.index)),
        WriteOlder(work.parts, work.older),
    ]
    edits = [ReadParts(plan.names, work.parts, work.verdicts), WriteEdits(work)]
    phases = (
        Phase("older", older, len(names), lambda: sum(map(num_parts, work.older.glob("*")))),
        Phase("edits", edits, len(plan.names), lambda: sum(1 for _ in work.edits.glob("*.npz"))),
    )
    return tuple(phase for phase in phases if phase.num_tasks)


def join_edits(work: Work, kept: Mapping[str, Verdict]) -> dict[str, Any]:
    """Write the shards of edits and the manifest of the older releases out of the finished packs.

    Args:
        work: whose phases are done.
        kept: packages that something was kept of, in the order of their records.

    Returns:
        What `dataset.json` shall say of them.

    Raises:
        ManifestError: if an older release is not what the manifest says.
    """
    heads = {name: _older_head(work, name) for name in kept}
    found = {name: head for name, head in heads.items() if head is not None}
    check_pins(work.older_pins, (head.release for head in found.values()))
    entries = []
    for name, head in found.items():
        texts = [file.text for file in _older_files(work, name)]
        if texts:
            release, num_bytes = head.release, sum(len(text.encode()) for text in texts)
            entries.append(
                Entry(
                    *(release.name, release.version, release.sha256, release.licence),
                    num_files=len(texts),
                    num_bytes=num_bytes,
                )
            )
    facts = write_shards(
        work.plan.out,
        (_read_pack(edits_path(work, name, verdict)) for name, verdict in kept.items()),
        {
            "tokenizer": work.fingerprint,
            "seed": work.plan.seed,
            "max_tokens": work.plan.max_tokens,
            "edits_version": EDITS_VERSION,
            "questions_version": QUESTIONS_VERSION,
            "num_older_releases": len(entries),
            "older_sha256": manifest_sha256(entries),
            "decontaminated_against": work.index_sha256,
        },
        EDITS,
    )
    write_manifest(work.plan.out / "older.jsonl", entries)
    told = ("num_records", "num_tokens", "num_target_tokens", "num_older_releases", "kinds")
    return {name: facts[name] for name in told}


class ReadOlder(PipelineStep):  # type: ignore[misc]
    """Fetches older releases and reads their files; those whose part is there are skipped."""

    type = "READER"
    name = "older"

    def __init__(
        self,
        names: tuple[str, ...],
        *,
        pins: Mapping[str, Entry],
        fetch: Fetch,
        fetch_older: FetchOlder,
        parts: Path,
        older: Path,
    ) -> None:
        super().__init__()
        self.names, self.pins = names, dict(pins)
        self.fetch, self.fetch_older = fetch, fetch_older
        self.parts, self.older = parts, older

    def run(
        self, data: Documents | None = None, rank: int = 0, world_size: int = 1
    ) -> Iterator[Document]:
        """Documents of this rank's packages."""
        yield from data or ()
        for name in self.names[rank::world_size]:
            newer, pin = read_head(self.parts, name), self.pins.get(name)
            # One that was refused has no older releases, and what no package index has neither.
            if newer is None or newer.refusal or not newer.release.version:
                continue
            head = read_head(older_folder(self.older, newer.release), name)
            if head is None or (pin is not None and head.release.sha256 != pin.sha256):
                files = older_files(
                    newer.release, self.pins, self.fetch, self.fetch_older, self.older.parent
                )
                yield from map(to_document, files)


class WriteOlder(PipelineStep):  # type: ignore[misc]
    """Keeps the files of each older release as a part."""

    type = "WRITER"
    name = "older"

    def __init__(self, parts: Path, older: Path) -> None:
        super().__init__()
        self.parts, self.older = parts, older

    def run(self, data: Documents, rank: int = 0, world_size: int = 1) -> Iterator[Document]:
        """The same documents, each when the part of its release is on the disk."""
        del world_size
        files = (to_file(document, rank) for document in data)
        for name, group in groupby(files, key=lambda file: file.release.name):
            release = list(group)
            newer = read_head(self.parts, name)
            assert newer is not None
            folder = older_folder(self.older, newer.release)
            folder.mkdir(parents=True, exist_ok=True)
            write_part(folder, release)
            yield from map(to_document, release)


class WriteEdits(PipelineStep):  # type: ignore[misc]
    """Makes the records of edits of each package and keeps them, packed."""

    type = "WRITER"
    name = "edits"

    def __init__(self, work: Work) -> None:
        super().__init__()
        self.work = work

    def run(self, data: Documents, rank: int = 0, world_size: int = 1) -> Iterator[Document]:
        """The same documents, each when the pack of its package is on the disk."""
        del world_size
        files = (to_file(document, rank) for document in data)
        for name, group in groupby(files, key=lambda file: file.release.name):
            package = list(group)
            path = edits_path(self.work, name, read_verdicts(self.work.verdicts)[name])
            if not path.exists():
                self._write(path, name, package)
            yield from map(to_document, package)

    def _write(self, path: Path, name: str, package: list[SourceFile]) -> None:
        plan = self.work.plan
        maker = _edit_record_maker(plan.model, plan.max_tokens)
        older = {file.path: file.text for file in _older_files(self.work, name)}
        pack = Pack.of_edits(
            (record, file_key(file.text))
            for file in package
            for record in maker.make(
                file.text, older.get(file.path), seed=plan.seed, name=f"{name}/{file.path}"
            )
        )
        temporary = path.with_name(path.name + ".part")
        with temporary.open("wb") as target:
            np.savez(target, tokens=pack.tokens, index=pack.index)
        temporary.replace(path)


def older_folder(older: Path, newer: Release) -> Path:
    """Where the part of the release before another one is."""
    return older / newer.sha256[:16]


def edits_path(work: Work, name: str, verdict: Verdict) -> Path:
    """Where the edits of a package with these kept files, and of its older release, are."""
    head = _older_head(work, name)
    older = head.release.sha256[:16] if head else ""
    return work.edits / f"{name}-{verdict.key}-{older or 'none'}.npz"


def _older_head(work: Work, name: str) -> PartHead | None:
    """Of the older release of a package, if one was asked for."""
    newer = read_head(work.parts, name)
    if newer is None or not has_older(name, work.plan.seed):
        return None
    return read_head(older_folder(work.older, newer.release), name)


def _older_files(work: Work, name: str) -> list[SourceFile]:
    newer = read_head(work.parts, name)
    if newer is None or _older_head(work, name) is None:
        return []
    return list(read_files(older_folder(work.older, newer.release), name))


def _read_pack(path: Path) -> Pack:
    with np.load(path) as arrays:
        return Pack(arrays["tokens"], arrays["index"])


@functools.cache
def _edit_record_maker(model: Path, max_tokens: int) -> EditRecordMaker:
    return EditRecordMaker(read_vocabulary(model), max_tokens=max_tokens)
