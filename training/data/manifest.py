"""The manifest of a build: which releases the data came from. It never holds any of their text.

A build that is given a manifest fetches exactly these releases. Knows neither pip nor archives.
"""

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

import cattrs

from training.data.source import Release


class ManifestError(ValueError):
    """A manifest that cannot be read or kept to; one sentence for a person."""


@dataclass(frozen=True)
class Entry:
    """A release of which at least one file was kept."""

    name: str
    version: str
    sha256: str
    licence: str
    num_files: int
    num_bytes: int
    """Of the kept files' text, as UTF-8."""

    @property
    def release(self) -> Release:
        """What of it tells which archive it is."""
        return Release(self.name, self.version, self.sha256, self.licence)


_converter = cattrs.Converter(forbid_extra_keys=True, detailed_validation=False)


def read_manifest(path: Path) -> dict[str, Entry]:
    """The entries by name, in the file's order; none if there is no file.

    Raises:
        ManifestError: if it is damaged; names the line.
    """
    entries: dict[str, Entry] = {}
    if not path.exists():
        return entries
    for number, line in enumerate(path.read_text().splitlines(), start=1):
        try:
            entry = _converter.structure(json.loads(line), Entry)
        except Exception as error:  # cattrs raises a dozen kinds
            raise ManifestError(f"{path}, line {number}, is no entry of a manifest.") from error
        entries[entry.name] = entry
    return entries


def write_manifest(path: Path, entries: Iterable[Entry]) -> None:
    """Replace the file, atomically."""
    temporary = path.with_name(path.name + ".part")
    temporary.write_text(_text(entries))
    temporary.replace(path)


def manifest_sha256(entries: Iterable[Entry]) -> str:
    """What tells one manifest from another."""
    return hashlib.sha256(_text(entries).encode()).hexdigest()


def check_pins(pins: Mapping[str, Entry], releases: Iterable[Release]) -> None:
    """See that everything fetched is what the manifest says.

    Raises:
        ManifestError: otherwise; names the packages.
    """
    others = [
        release.name
        for release in releases
        if release.name in pins and release.sha256 != pins[release.name].sha256
    ]
    if others:
        raise ManifestError(
            f"Not what the manifest says, by version or sha256: {', '.join(others)}; "
            "build with another manifest, or without these packages."
        )


def _text(entries: Iterable[Entry]) -> str:
    return "".join(json.dumps(asdict(entry)) + "\n" for entry in entries)
