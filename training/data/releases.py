"""Older releases of some packages, for what changed since: which ones, and their files.

An older release has to be as permissive as the newer one, and its files pass the same stages.
Knows no edits.
"""

import hashlib
import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from training.data.fetch import Fetch, FetchOlder
from training.data.manifest import Entry
from training.data.packages import package_files
from training.data.parts import read_files
from training.data.source import Release, SourceFile
from training.data.standard_library import NAME as STANDARD_LIBRARY

OLDER_SHARE = 0.25
"""Of the packages: each is one more download."""
_SERIES = re.compile(r"(?:\d+!)?\d+(?:\.\d+)?")


def has_older(name: str, seed: int) -> bool:
    """Whether a package is among those of which an older release is taken."""
    digest = hashlib.sha256(f"{seed}\0older\0{name}".encode()).digest()
    return name != STANDARD_LIBRARY and digest[0] < 256 * OLDER_SHARE


def series_of(version: str) -> str:
    """The first two numbers of a version; what is older than these is another minor release.

    The release just before would often differ by a line or two.
    """
    match = _SERIES.match(version)
    return match[0] if match else version


def older_files(
    newer: Release,
    pins: Mapping[str, Entry],
    fetch: Fetch,
    fetch_older: FetchOlder,
    scratch: Path,
) -> Iterator[SourceFile]:
    """The Python files of an older release, as `packages.package_files` yields them.

    Args:
        newer: the release that it has to be older than.
        pins: older releases that have to be taken where they are named.
        fetch: gets the wheel of a pin.
        fetch_older: gets one that is older.
        scratch: folder for the wheel.

    Raises:
        ManifestError: if a pinned release is not to be had any more.
        FetchError: if pip or the network fails.
    """

    def fetched(name: str, pin: Release | None, folder: Path) -> Path:
        if pin is None:
            return fetch_older(name, series_of(newer.version), folder)
        return fetch(name, pin, folder)

    return package_files(newer.name, pins, fetched, scratch)


def only_changed(parts: Path, files: Iterable[SourceFile]) -> Iterator[SourceFile]:
    """Drop files that the newer release, whose part is in a folder, has not or has unchanged."""
    name, newer = "", dict[str, str]()
    for file in files:
        if file.release.name != name:
            name = file.release.name
            newer = {kept.path: kept.text for kept in read_files(parts, name)}
        if file.dropped:
            yield file
        elif file.path not in newer:
            yield file.drop("older", "not in the newer release")
        elif file.text == newer[file.path]:
            yield file.drop("older", "unchanged")
        else:
            yield file
