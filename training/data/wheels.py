"""What is in a wheel: its metadata, its licence files and its Python files. Nothing is unpacked.

A wheel is a stranger's archive: its names are only ever read, and no member is read further than
its limit. Knows neither licences nor which files are worth having.
"""

import hashlib
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from email.message import Message
from email.parser import BytesParser
from email.policy import compat32
from pathlib import Path, PurePosixPath

_MAX_MEMBERS = 100_000
_MAX_MEMBER_BYTES = 1_000_000
"""No file that a person wrote is longer."""
_MAX_TOTAL_BYTES = 200_000_000
"""Of all that is read of one wheel."""
_MAX_RATIO = 200
"""Bytes unpacked per byte packed; source code has about 4."""
_LICENCE_STEMS = ("licen", "copying", "unlicense", "notice")


class WheelError(ValueError):
    """An archive that is no wheel or not a harmless one; says why, without naming it."""


@dataclass(frozen=True)
class Wheel:
    """A wheel's own account of itself."""

    name: str
    version: str
    sha256: str
    metadata: Message
    licence_texts: tuple[str, ...]
    """Texts of the licence files, those nearest to the root first."""


def read_wheel(path: Path) -> Wheel:
    """Metadata and licence files.

    Raises:
        WheelError: if it is none, or is damaged.
    """
    with _opened(path) as archive:
        members = {member.filename: member for member in _members(archive)}
        heads = [name for name in members if name.endswith(".dist-info/METADATA")]
        heads = [name for name in heads if name.count("/") == 1]
        if len(heads) != 1:
            raise WheelError("it has no metadata")
        metadata = BytesParser(policy=compat32).parsebytes(_read(archive, members[heads[0]]))
        folder = heads[0].removesuffix("METADATA")
        licence_files = sorted(
            (name for name in members if name.startswith(folder) and _is_licence(name)),
            key=lambda name: (name.count("/"), name),
        )
        texts = tuple(
            _read(archive, members[name]).decode(errors="replace")
            for name in licence_files
            if members[name].file_size <= _MAX_MEMBER_BYTES
        )
    name, version = metadata.get("Name"), metadata.get("Version")
    if not name or not version:
        raise WheelError("its metadata have no name or no version")
    return Wheel(str(name), str(version), file_sha256(path), metadata, texts)


def python_files(path: Path) -> Iterator[tuple[str, bytes]]:
    """Path and content of each Python file that is not overly long, sorted by path.

    Raises:
        WheelError: if the archive is damaged or a bomb.
    """
    total = 0
    with _opened(path) as archive:
        members = sorted(_members(archive), key=lambda member: member.filename)
        for member in members:
            if not member.filename.endswith(".py") or member.file_size > _MAX_MEMBER_BYTES:
                continue
            content = _read(archive, member)
            total += len(content)
            if total > _MAX_TOTAL_BYTES:
                raise WheelError("it holds more source than any package has")
            yield member.filename, content


def file_sha256(path: Path) -> str:
    """In hexadecimal digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@contextmanager
def _opened(path: Path) -> Iterator[zipfile.ZipFile]:
    try:
        with zipfile.ZipFile(path) as archive:
            yield archive
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError) as error:
        raise WheelError("it is damaged") from error


def _members(archive: zipfile.ZipFile) -> list[zipfile.ZipInfo]:
    """Its files, if all their names are such as a wheel has."""
    members = [member for member in archive.infolist() if not member.is_dir()]
    if len(members) > _MAX_MEMBERS:
        raise WheelError("it has too many files")
    names = [member.filename for member in members]
    if len(set(names)) < len(names):
        raise WheelError("two of its files have the same name")
    for name in names:
        path = PurePosixPath(name)
        if path.is_absolute() or ".." in path.parts or "\\" in name or ":" in path.parts[0]:
            raise WheelError("a file in it points out of it")
    return members


def _read(archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> bytes:
    if member.file_size > _MAX_RATIO * max(member.compress_size, 100):
        raise WheelError("a file in it is a bomb")
    with archive.open(member) as file:  # which itself reads no further than `file_size`
        return file.read(_MAX_MEMBER_BYTES)


def _is_licence(name: str) -> bool:
    return PurePosixPath(name).name.lower().startswith(_LICENCE_STEMS)
