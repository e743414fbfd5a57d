"""What the work folder keeps of each package, so that a killed build goes on where it was.

A part is written at once or not at all. Knows no stage.
"""

import gzip
import json
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from training.data.source import Release, SourceFile

_SUFFIX = ".jsonl.gz"


@dataclass(frozen=True)
class PartHead:
    """What is known of a package beside its kept files."""

    release: Release
    dropped: Counter[str]
    """Files by `SourceFile.dropped`."""
    replaced: Counter[str]
    refusal: str
    """Why the whole package was refused; empty if it was not."""


def part_path(folder: Path, name: str) -> Path:
    """Where a package's part is."""
    return folder / (name + _SUFFIX)


def num_parts(folder: Path) -> int:
    """How many are finished."""
    return sum(1 for _ in folder.glob("*" + _SUFFIX))


def write_part(folder: Path, files: Sequence[SourceFile]) -> None:
    """Keep the files of one package; there is one at least, be it dropped."""
    release = files[0].release
    refusal = next((file.dropped for file in files if file.dropped and not file.path), "")
    head = {
        "release": asdict(release),
        "dropped": Counter(file.dropped for file in files if file.dropped),
        "replaced": sum((Counter(dict(file.replaced)) for file in files), Counter[str]()),
        "refusal": refusal,
    }
    # A package may be refused after some of its files were read.
    kept = [file for file in files if not file.dropped and not refusal]
    lines = [head, *({"path": file.path, "text": file.text} for file in kept)]
    path = part_path(folder, release.name)
    temporary = path.with_name(path.name + ".part")
    content = "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines).encode()
    temporary.write_bytes(gzip.compress(content, compresslevel=4, mtime=0))
    temporary.replace(path)


def read_head(folder: Path, name: str) -> PartHead | None:
    """What is known of a package; None if there is no part of it."""
    path = part_path(folder, name)
    if not path.exists():
        return None
    with gzip.open(path, "rt", encoding="utf-8", newline="\n") as file:
        head = json.loads(file.readline())
    return PartHead(
        Release(**head["release"]),
        Counter(head["dropped"]),
        Counter(head["replaced"]),
        head["refusal"],
    )


def read_files(folder: Path, name: str) -> Iterator[SourceFile]:
    """The kept files of a package."""
    with gzip.open(part_path(folder, name), "rt", encoding="utf-8", newline="\n") as file:
        release = Release(**json.loads(file.readline())["release"])
        for line in file:
            kept = json.loads(line)
            yield SourceFile(release, kept["path"], kept["text"])
